// BpeEncoder for Python.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>

#include "bpe/bind.h"
#include "bpe/encode.h"
#include "bpe/group_ids.h"
#include "bpe/id_lists.h"
#include "bpe/pieces.h"
#include "bpe/threads.h"

namespace groundup {
namespace {

using bpe::GroupIds;
using bpe::IdBuffer;
using bpe::Piece;
using bpe::Pieces;

// Bytes that a thread takes at a time: the ids of so many stay in its cache until a list is made.
constexpr std::size_t kGroupBytes = std::size_t{1} << 16;

// Bytes of one text between two looks for Ctrl-C.
constexpr std::size_t kPatientBytes = std::size_t{1} << 24;

void stop_if_interrupted() {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

template <class T>
py::array_t<T> array_owning(T* ids, std::size_t n) {
  const py::capsule owner(ids, [](void* p) { std::free(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(n), ids, owner);
}

py::array_t<std::uint32_t> ids_to_numpy(IdBuffer&& ids) {
  const std::size_t n = ids.size();
  return array_owning(ids.release(), n);
}

py::array_t<std::uint16_t> ids_to_narrow_numpy(IdBuffer&& ids) {
  const std::size_t n = ids.size();
  return array_owning(ids.release_narrow(), n);
}

struct PyEncoder {
  bpe::Encoder encoder;
  mutable Ints ints{encoder.n_tokens()};

  static std::unique_ptr<PyEncoder> make(const py::sequence& tokens, const py::object& merges,
                                         const std::string& pattern, bool whole_chunks) {
    const auto rows = exact_array<std::uint32_t>(merges, "merges", "uint32", 2);
    if (rows.shape(1) != 3)
      throw py::value_error("merges: expected shape (n, 3): left, right, id; got (" +
                            std::to_string(rows.shape(0)) + ", " + std::to_string(rows.shape(1)) +
                            ").");
    return std::unique_ptr<PyEncoder>(
        new PyEncoder{{token_bytes(tokens), rows.data(), static_cast<std::size_t>(rows.shape(0)),
                       pattern_named(pattern), whole_chunks}});
  }

  // Between the parts of a long text Ctrl-C is looked for; a cut is where no chunk changes.
  IdBuffer ids_of(const Text& text) const {
    const py::gil_scoped_release release;
    IdBuffer ids;
    for (std::size_t at = 0; at < text.size;) {
      const std::size_t rest = text.size - at;
      if (at > 0) {
        stop_if_interrupted();
        const double rate = static_cast<double>(ids.size()) / static_cast<double>(at);
        ids.room(static_cast<std::size_t>(1.05 * rate * static_cast<double>(rest)));
      }
      const std::size_t end = rest <= kPatientBytes ? text.size
                                                    : bpe::find_cut(encoder.pattern(), text.begin,
                                                                    at + kPatientBytes, text.size);
      encoder.encode(text.begin + at, end - at, &ids);
      at = end;
    }
    return ids;
  }

  py::list encode(const py::str& text) const {
    const IdBuffer ids = ids_of(utf8_of(text));
    return ints.list_of(ids.data(), ids.size());
  }

  py::array_t<std::uint32_t> encode_to_numpy(const py::str& text) const {
    return ids_to_numpy(ids_of(utf8_of(text)));
  }

  py::array_t<std::uint16_t> encode_to_uint16(const py::str& text) const {
    if (encoder.n_tokens() > std::size_t{1} << 16)
      throw py::value_error("expected at most 65536 tokens for ids of 16 bits, got " +
                            std::to_string(encoder.n_tokens()) + ".");
    return ids_to_narrow_numpy(ids_of(utf8_of(text)));
  }

  py::array_t<std::uint32_t> encode_with_dropout(const py::str& text, double dropout,
                                                 std::uint64_t seed) const {
    check_dropout(dropout);
    const Text bytes = utf8_of(text);
    IdBuffer ids;
    {
      const py::gil_scoped_release release;
      bpe::RandomBits random(seed);
      encoder.encode_with_dropout(bytes.begin, bytes.size, dropout, random, &ids);
    }
    return ids_to_numpy(std::move(ids));
  }

  py::tuple encode_with_offsets(const py::str& text) const {
    const Text bytes = utf8_of(text);
    IdBuffer ids = ids_of(bytes);
    py::array_t<std::int64_t> offsets({static_cast<py::ssize_t>(ids.size()), py::ssize_t{2}});
    std::int64_t* out = offsets.mutable_data();
    std::int64_t n_started = 0;  // characters that start before `at`
    const std::uint8_t* at = bytes.begin;
    const auto starts = [](std::uint8_t byte) { return (byte & 0xC0) != 0x80; };
    for (std::size_t i = 0; i < ids.size(); ++i) {
      *out++ = n_started - !starts(*at);
      for (const std::uint8_t* end = at + encoder.token(ids.data()[i]).size(); at < end; ++at)
        n_started += starts(*at);
      *out++ = n_started;
    }
    return py::make_tuple(ids_to_numpy(std::move(ids)), offsets);
  }

  void encode_group(const Pieces::Group& group, GroupIds* out) const {
    std::size_t n_bytes = 0;
    for (const Piece& piece : group) n_bytes += piece.size;
    out->ids.room(n_bytes / 3);
    for (const Piece& piece : group) {
      encoder.encode(piece.begin, piece.size, &out->ids);
      out->ends.push_back(out->ids.size());
    }
  }

  // Lists are made under the GIL, by the calling thread, while the others encode.
  py::list encode_batch(const py::sequence& texts, int threads) const {
    const std::size_t n = n_threads(threads);
    const HeldTexts held(texts);
    std::vector<ListOfPieces> lists(held.texts.size());
    bool finished;
    {
      const py::gil_scoped_release release;
      const Pieces pieces(held.texts, encoder.pattern(), kGroupBytes);
      std::vector<std::unique_ptr<GroupIds>> encoded(pieces.n_groups());
      bpe::SpareIds spare;
      finished = bpe::run_in_order(
          pieces.n_groups(), n, interrupted,
          [&](std::size_t i, std::size_t) {
            encoded[i] = spare.take();
            encode_group(pieces.group(i), encoded[i].get());
          },
          [&](std::size_t i) {
            {
              const py::gil_scoped_acquire gil;
              make_lists(pieces.group(i), *encoded[i], held.texts, &lists);
            }
            spare.give(std::move(encoded[i]));
          });
    }
    if (!finished) throw py::error_already_set();
    py::list all(lists.size());
    for (std::size_t i = 0; i < lists.size(); ++i) all[i] = lists[i].take();
    return all;
  }

  void make_lists(const Pieces::Group& group, const GroupIds& encoded,
                  const std::vector<Text>& texts, std::vector<ListOfPieces>* lists) const {
    std::size_t at = 0;
    const Piece* piece = group.first;
    for (const std::size_t end : encoded.ends) {
      const Text& text = texts[piece->text];
      const std::size_t done = static_cast<std::size_t>(piece->begin - text.begin) + piece->size;
      (*lists)[piece->text].append(&ints, encoded.ids.data() + at, end - at, piece->size,
                                   text.size - done);
      at = end;
      ++piece;
    }
  }

  py::tuple encode_batch_to_numpy(const py::sequence& texts, int threads) const {
    const std::size_t n = n_threads(threads);
    const HeldTexts held(texts);
    py::array_t<std::int64_t> ends(static_cast<py::ssize_t>(held.texts.size()) + 1);
    std::int64_t* const text_ends = ends.mutable_data();
    std::fill_n(text_ends, ends.size(), std::int64_t{0});
    const Pieces pieces(held.texts, encoder.pattern(), kGroupBytes);
    std::vector<GroupIds> encoded(pieces.n_groups());
    bool finished;
    {
      const py::gil_scoped_release release;
      finished = bpe::run_threads(
          pieces.n_groups(), n, interrupted,
          [&](std::size_t i, std::size_t) { encode_group(pieces.group(i), &encoded[i]); });
    }
    if (!finished) throw py::error_already_set();
    std::vector<std::size_t> begins{0};
    for (std::size_t i = 0; i < encoded.size(); ++i) {
      std::size_t at = 0, piece = 0;
      for (const std::size_t end : encoded[i].ends) {
        const std::size_t text = pieces.group(i).first[piece++].text;
        text_ends[text + 1] += static_cast<std::int64_t>(end - at);
        at = end;
      }
      begins.push_back(begins.back() + at);
    }
    std::partial_sum(text_ends, text_ends + ends.size(), text_ends);
    py::array_t<std::uint32_t> all(static_cast<py::ssize_t>(begins.back()));
    std::uint32_t* const out = all.mutable_data();
    {
      // On all threads as well: the memory is fresh, and a page's first touch costs more than
      // what is written to it.
      const py::gil_scoped_release release;
      bpe::run_threads(
          encoded.size(), n, [] { return false; },
          [&](std::size_t i, std::size_t) {
            std::copy_n(encoded[i].ids.data(), encoded[i].ids.size(), out + begins[i]);
          });
    }
    return py::make_tuple(all, ends);
  }

  static void check_dropout(double dropout) {
    if (!(dropout >= 0 && dropout <= 1))
      throw py::value_error("dropout: expected a number from 0 to 1, got " +
                            std::to_string(dropout) + ".");
  }

  py::array_t<std::uint32_t> encode_chunks(const py::bytes& text, const py::object& ends) const {
    return chunks_to_ids(text, ends,
                         [&](const std::uint8_t* at, const std::int64_t* cuts, std::size_t n,
                             IdBuffer* ids) { encoder.encode_chunks(at, cuts, n, ids); });
  }

  py::array_t<std::uint32_t> encode_chunks_with_dropout(const py::bytes& text,
                                                        const py::object& ends, double dropout,
                                                        std::uint64_t seed) const {
    check_dropout(dropout);
    return chunks_to_ids(
        text, ends,
        [&](const std::uint8_t* at, const std::int64_t* cuts, std::size_t n, IdBuffer* ids) {
          bpe::RandomBits random(seed);
          encoder.encode_chunks_with_dropout(at, cuts, n, dropout, random, ids);
        });
  }

  template <class Encode>
  static py::array_t<std::uint32_t> chunks_to_ids(const py::bytes& text, const py::object& ends,
                                                  Encode&& encode) {
    char* at;
    Py_ssize_t n;
    if (PyBytes_AsStringAndSize(text.ptr(), &at, &n) != 0) throw py::error_already_set();
    const auto cuts = exact_array<std::int64_t>(ends, "ends", "int64", 1);
    std::int64_t before = 0;
    for (py::ssize_t i = 0; i < cuts.size(); before = cuts.at(i++))
      if (cuts.at(i) < before || cuts.at(i) > n)
        throw py::value_error("ends: expected offsets that never fall, up to the text's " +
                              std::to_string(n) + " bytes, got " + std::to_string(cuts.at(i)) +
                              " after " + std::to_string(before) + ".");
    if (before != n)
      throw py::value_error("ends: expected the last to be the end of the text, " +
                            std::to_string(n) + ", got " +
                            (cuts.size() ? std::to_string(before) : std::string("no ends")) +
                            "; the bytes after it would be lost.");
    IdBuffer ids;
    {
      const py::gil_scoped_release release;
      encode(reinterpret_cast<const std::uint8_t*>(at), cuts.data(),
             static_cast<std::size_t>(cuts.size()), &ids);
    }
    return ids_to_numpy(std::move(ids));
  }
};

}  // namespace

void bind_bpe_encoder(py::module_& m) {
  py::class_<PyEncoder>(m, "BpeEncoder")
      .def(py::init(&PyEncoder::make), py::arg("tokens"), py::arg("merges"), py::arg("pattern"),
           py::arg("whole_chunks"))
      .def("encode", method(&PyEncoder::encode), py::arg("text"))
      .def("encode_to_numpy", method(&PyEncoder::encode_to_numpy), py::arg("text"))
      .def("encode_to_uint16", method(&PyEncoder::encode_to_uint16), py::arg("text"))
      .def("encode_with_dropout", method(&PyEncoder::encode_with_dropout), py::arg("text"),
           py::arg("dropout"), py::arg("seed"))
      .def("encode_with_offsets", method(&PyEncoder::encode_with_offsets), py::arg("text"))
      .def("encode_batch", method(&PyEncoder::encode_batch), py::arg("texts"), py::arg("threads"))
      .def("encode_batch_to_numpy", method(&PyEncoder::encode_batch_to_numpy), py::arg("texts"),
           py::arg("threads"))
      .def("encode_chunks", method(&PyEncoder::encode_chunks), py::arg("text"), py::arg("ends"))
      .def("encode_chunks_with_dropout", method(&PyEncoder::encode_chunks_with_dropout),
           py::arg("text"), py::arg("ends"), py::arg("dropout"), py::arg("seed"));
}

}  // namespace groundup
