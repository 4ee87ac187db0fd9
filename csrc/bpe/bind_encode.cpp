// BpeEncoder for Python.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "bpe/bind.h"
#include "bpe/encode.h"
#include "bpe/threads.h"

namespace groundup {
namespace {

using bpe::IdBuffer;

py::array_t<std::uint32_t> ids_to_numpy(IdBuffer&& ids) {
  const auto n = static_cast<py::ssize_t>(ids.size());
  std::uint32_t* owned = ids.release();
  const py::capsule owner(owned, [](void* p) { std::free(p); });
  return py::array_t<std::uint32_t>(n, owned, owner);
}

// The ints of a vocabulary, each made once: most ids of a text have stood in it before, and to
// count a reference is cheaper than to make an int. Used under the GIL.
class Ints {
 public:
  explicit Ints(std::size_t n) : ints_(n) {}
  ~Ints() {
    for (PyObject* each : ints_) Py_XDECREF(each);
  }
  Ints(const Ints&) = delete;

  py::list list_of(const IdBuffer& ids) {
    py::list list(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      PyObject*& each = ints_[ids.data()[i]];
      if (each == nullptr) each = PyLong_FromUnsignedLong(ids.data()[i]);
      if (each == nullptr) throw py::error_already_set();
      Py_INCREF(each);
      PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), each);
    }
    return list;
  }

 private:
  std::vector<PyObject*> ints_;
};

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

  IdBuffer ids_of(const Text& text) const {
    IdBuffer ids;
    const py::gil_scoped_release release;
    ids.room(text.size / 4);
    encoder.encode(text.begin, text.size, &ids);
    return ids;
  }

  py::list encode(const py::str& text) const { return ints.list_of(ids_of(utf8_of(text))); }

  py::array_t<std::uint32_t> encode_to_numpy(const py::str& text) const {
    return ids_to_numpy(ids_of(utf8_of(text)));
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

  std::vector<IdBuffer> batch_ids(const HeldTexts& held, std::size_t threads) const {
    std::vector<IdBuffer> ids(held.texts.size());
    bool finished;
    {
      const py::gil_scoped_release release;
      finished = bpe::run_threads(held.texts.size(), threads, interrupted,
                                  [&](std::size_t item, std::size_t) {
                                    const Text& text = held.texts[item];
                                    ids[item].room(text.size / 4);
                                    encoder.encode(text.begin, text.size, &ids[item]);
                                  });
    }
    if (!finished) throw py::error_already_set();
    return ids;
  }

  py::list encode_batch(const py::sequence& texts, int threads) const {
    const std::size_t n = n_threads(threads);
    const HeldTexts held(texts);
    const std::vector<IdBuffer> ids = batch_ids(held, n);
    py::list lists(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) lists[i] = ints.list_of(ids[i]);
    return lists;
  }

  py::tuple encode_batch_to_numpy(const py::sequence& texts, int threads) const {
    const std::size_t n = n_threads(threads);
    const HeldTexts held(texts);
    const std::vector<IdBuffer> ids = batch_ids(held, n);
    py::array_t<std::int64_t> ends(static_cast<py::ssize_t>(ids.size()) + 1);
    std::int64_t total = 0;
    ends.mutable_at(0) = 0;
    for (std::size_t i = 0; i < ids.size(); ++i)
      ends.mutable_at(i + 1) = total += static_cast<std::int64_t>(ids[i].size());
    py::array_t<std::uint32_t> all(total);
    std::uint32_t* out = all.mutable_data();
    for (const IdBuffer& some : ids) out = std::copy_n(some.data(), some.size(), out);
    return py::make_tuple(all, ends);
  }

  py::array_t<std::uint32_t> encode_chunks(const py::bytes& text, const py::object& ends) const {
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
      encoder.encode_chunks(reinterpret_cast<const std::uint8_t*>(at), cuts.data(), cuts.size(),
                            &ids);
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
      .def("encode_with_offsets", method(&PyEncoder::encode_with_offsets), py::arg("text"))
      .def("encode_batch", method(&PyEncoder::encode_batch), py::arg("texts"), py::arg("threads"))
      .def("encode_batch_to_numpy", method(&PyEncoder::encode_batch_to_numpy), py::arg("texts"),
           py::arg("threads"))
      .def("encode_chunks", method(&PyEncoder::encode_chunks), py::arg("text"), py::arg("ends"));
}

}  // namespace groundup
