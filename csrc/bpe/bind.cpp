// The BPE engine for Python. The GIL is released while the engine works; what it reads is held.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "bpe/count.h"
#include "bpe/encode.h"
#include "bpe/file.h"
#include "bpe/merge.h"
#include "bpe/split.h"
#include "bpe/unicode.h"

namespace py = pybind11;

namespace groundup {
namespace {

using bpe::IdBuffer;
using bpe::Text;

bool interrupted() {
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

bpe::Pattern pattern_named(const std::string& name) {
  bpe::Pattern pattern;
  if (bpe::find_pattern(name.c_str(), &pattern)) return pattern;
  throw py::value_error(
      "pattern: expected one with a native scanner (gpt2, gpt4, gpt4o, indic-math, none), got '" +
      name +
      "'; groundup.tokenizer splits any other with the regex module and hands "
      "over the chunks.");
}

std::size_t n_threads(int threads) {
  if (threads < 1)
    throw py::value_error("threads: expected 1 or more, got " + std::to_string(threads) + ".");
  return static_cast<std::size_t>(threads);
}

// The str's UTF-8, which lives as long as the str. A lone surrogate raises UnicodeEncodeError.
Text utf8_of(py::handle text) {
  Py_ssize_t n;
  const char* bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &n);
  if (bytes == nullptr) throw py::error_already_set();
  return {reinterpret_cast<const std::uint8_t*>(bytes), static_cast<std::size_t>(n)};
}

// Holds the strs themselves: another thread may change the list meanwhile.
struct HeldTexts {
  explicit HeldTexts(const py::sequence& sequence) {
    if (PyUnicode_Check(sequence.ptr()))
      throw py::type_error("texts: expected a sequence of str, got one str; pass [text].");
    for (const py::handle item : sequence) {
      if (!PyUnicode_Check(item.ptr()))
        throw py::type_error("texts: expected str, got " +
                             std::string(Py_TYPE(item.ptr())->tp_name) + " at index " +
                             std::to_string(held.size()) + ".");
      texts.push_back(utf8_of(item));
      held.push_back(py::reinterpret_borrow<py::object>(item));
    }
  }
  std::vector<py::object> held;
  std::vector<Text> texts;
};

// An array that owns `values`; no copy.
template <class T>
py::array_t<T> to_numpy(std::vector<T>&& values) {
  auto* owned = new std::vector<T>(std::move(values));
  const py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(owned->size()), owned->data(), owner);
}

py::array_t<std::uint32_t> to_numpy(IdBuffer&& ids) {
  const auto n = static_cast<py::ssize_t>(ids.size());
  std::uint32_t* owned = ids.release();
  const py::capsule owner(owned, [](void* p) { std::free(p); });
  return py::array_t<std::uint32_t>(n, owned, owner);
}

py::list to_list(const IdBuffer& ids) {
  py::list list(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    PyObject* id = PyLong_FromLong(static_cast<long>(ids.data()[i]));
    if (id == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), id);
  }
  return list;
}

// A dense array of exactly this dtype: a cast would let -1 or 1.5 through as an id.
template <class T>
py::array_t<T, py::array::c_style> exact_array(const py::handle& given, const char* name,
                                               const char* dtype, int ndim) {
  std::string got = Py_TYPE(given.ptr())->tp_name;
  if (py::isinstance<py::array>(given)) {
    const auto array = py::reinterpret_borrow<py::array>(given);
    if (py::isinstance<py::array_t<T>>(given) && array.ndim() == ndim)
      return py::array_t<T, py::array::c_style>::ensure(given);
    got = py::cast<std::string>(py::str(array.dtype())) + " with " + std::to_string(array.ndim());
  }
  throw py::type_error(std::string(name) + ": expected a NumPy array of dtype " + dtype + " with " +
                       std::to_string(ndim) + " dimension(s), got " + got + ".");
}

// Refuses a second thread while one works without the GIL.
class Alone {
 public:
  explicit Alone(std::atomic<bool>& busy) : busy_(busy) {
    if (busy_.exchange(true))
      throw std::runtime_error(
          "ChunkCounts: expected one thread at a time, but another is using it; give each thread "
          "its own.");
  }
  ~Alone() { busy_ = false; }
  Alone(const Alone&) = delete;

 private:
  std::atomic<bool>& busy_;
};

struct PyChunkCounts {
  bpe::ChunkCounts counts;
  std::atomic<bool> busy{false};

  void add(const std::vector<Text>& texts, bpe::Pattern pattern, std::size_t threads) {
    bool finished;
    {
      const py::gil_scoped_release release;
      finished = counts.add_texts(texts, pattern, threads, interrupted);
    }
    if (!finished) throw py::error_already_set();
  }

  void add_texts(const py::sequence& texts, const std::string& pattern, int threads) {
    const bpe::Pattern cut = pattern_named(pattern);
    const std::size_t n = n_threads(threads);
    const HeldTexts held(texts);
    const Alone alone(busy);
    add(held.texts, cut, n);
  }

  std::size_t add_file(const std::string& path, const std::string& pattern, int threads) {
    const bpe::Pattern cut = pattern_named(pattern);
    const std::size_t n = n_threads(threads);
    const Alone alone(busy);
    try {
      const bpe::MappedFile file(path);
      std::size_t invalid;
      {
        const py::gil_scoped_release release;
        invalid = bpe::find_invalid_utf8(file.begin(), file.size());
      }
      if (invalid != file.size())
        throw py::value_error(path + ": expected UTF-8, but byte " + std::to_string(invalid) +
                              " is not; convert the file (iconv -f ENCODING -t UTF-8).");
      add({{file.begin(), file.size()}}, cut, n);
      return file.size();
    } catch (const std::system_error& error) {
      errno = error.code().value();
      PyErr_SetFromErrnoWithFilename(PyExc_OSError, path.c_str());
      throw py::error_already_set();
    }
  }

  void add_chunks(const py::sequence& chunks, const py::sequence& numbers) {
    const Alone alone(busy);
    if (py::len(chunks) != py::len(numbers))
      throw py::value_error("counts: expected one for each of the " +
                            std::to_string(py::len(chunks)) + " chunks, got " +
                            std::to_string(py::len(numbers)) + ".");
    const std::size_t n = py::len(chunks);
    for (std::size_t i = 0; i < n; ++i) {
      const py::object chunk = chunks[i], number = numbers[i];
      char* bytes;
      Py_ssize_t size;
      if (PyBytes_AsStringAndSize(chunk.ptr(), &bytes, &size) != 0) throw py::error_already_set();
      const std::uint64_t count = PyLong_AsUnsignedLongLong(number.ptr());
      if (PyErr_Occurred()) throw py::error_already_set();
      counts.add_chunk(reinterpret_cast<const std::uint8_t*>(bytes), size, count);
    }
  }

  py::list items() {
    const Alone alone(busy);
    const bpe::ChunkList& list = counts.list();
    py::list items(list.size());
    for (std::size_t i = 0; i < list.size(); ++i)
      items[i] = py::make_tuple(
          py::bytes(reinterpret_cast<const char*>(list.bytes.data()) + list.starts[i],
                    list.starts[i + 1] - list.starts[i]),
          list.counts[i]);
    return items;
  }

  std::size_t size() {
    const Alone alone(busy);
    return counts.n_distinct();
  }
};

py::tuple train(PyChunkCounts& counts, std::int64_t n_merges, const std::string& ties,
                std::int64_t min_frequency, int threads) {
  bpe::Ties rule;
  if (!bpe::find_ties(ties.c_str(), &rule))
    throw py::value_error("ties: expected 'smallest_pair', 'huggingface' or 'first_seen', got '" +
                          ties + "'.");
  n_threads(threads);
  if (n_merges < 0 || n_merges > 0x7FFFFF00)
    throw py::value_error("n_merges: expected a number from 0 to 2^31 - 257, got " +
                          std::to_string(n_merges) + ".");
  if (min_frequency < 0)
    throw py::value_error("min_frequency: expected 0 or more, got " +
                          std::to_string(min_frequency) + ".");
  const Alone alone(counts.busy);
  std::vector<bpe::Merge> merges;
  bool finished;
  {
    const py::gil_scoped_release release;
    finished =
        bpe::train(counts.counts.list(), n_merges, rule, min_frequency, interrupted, &merges);
  }
  if (!finished) throw py::error_already_set();
  const auto n = static_cast<py::ssize_t>(merges.size());
  py::array_t<std::uint32_t> rows({n, py::ssize_t{3}});
  py::array_t<std::uint64_t> merged(n);
  for (py::ssize_t i = 0; i < n; ++i) {
    std::uint32_t* row = rows.mutable_data(i, 0);
    row[0] = merges[i].left;
    row[1] = merges[i].right;
    row[2] = merges[i].id;
    merged.mutable_at(i) = merges[i].count;
  }
  return py::make_tuple(rows, merged);
}

py::array_t<std::int64_t> split(const py::str& text, const std::string& pattern) {
  const bpe::Pattern cut = pattern_named(pattern);
  const Text bytes = utf8_of(text);
  std::vector<std::int64_t> ends;
  {
    const py::gil_scoped_release release;
    bpe::for_each_batch(cut, bytes.begin, bytes.size,
                        [&](std::size_t, const std::size_t* some, std::size_t found) {
                          ends.insert(ends.end(), some, some + found);
                        });
  }
  return to_numpy(std::move(ends));
}

std::vector<std::string> token_bytes(const py::sequence& tokens) {
  std::vector<std::string> bytes;
  bytes.reserve(py::len(tokens));
  for (const py::handle token : tokens) {
    char* at;
    Py_ssize_t n;
    if (PyBytes_AsStringAndSize(token.ptr(), &at, &n) != 0) throw py::error_already_set();
    bytes.emplace_back(at, static_cast<std::size_t>(n));
  }
  return bytes;
}

py::array_t<std::uint32_t> splits(const py::sequence& tokens) {
  const std::vector<std::string> bytes = token_bytes(tokens);
  std::vector<std::uint32_t> rows;
  {
    const py::gil_scoped_release release;
    rows = bpe::all_splits(bytes);
  }
  const auto n = static_cast<py::ssize_t>(rows.size() / 3);
  return to_numpy(std::move(rows)).reshape({n, py::ssize_t{3}});
}

struct PyEncoder {
  bpe::Encoder encoder;

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

  py::list encode(const py::str& text) const { return to_list(ids_of(utf8_of(text))); }

  py::array_t<std::uint32_t> encode_to_numpy(const py::str& text) const {
    return to_numpy(ids_of(utf8_of(text)));
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
    return py::make_tuple(to_numpy(std::move(ids)), offsets);
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
    for (std::size_t i = 0; i < ids.size(); ++i) lists[i] = to_list(ids[i]);
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
    IdBuffer ids;
    {
      const py::gil_scoped_release release;
      encoder.encode_chunks(reinterpret_cast<const std::uint8_t*>(at), cuts.data(), cuts.size(),
                            &ids);
    }
    return to_numpy(std::move(ids));
  }

  std::string bytes_of(const std::uint32_t* ids, std::size_t n) const {
    std::size_t n_bytes = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (ids[i] >= encoder.n_tokens())
        throw py::value_error("ids: expected ids below the vocabulary's " +
                              std::to_string(encoder.n_tokens()) + ", got " +
                              std::to_string(ids[i]) + " at index " + std::to_string(i) + ".");
      n_bytes += encoder.token(ids[i]).size();
    }
    std::string bytes;
    bytes.reserve(n_bytes);
    for (std::size_t i = 0; i < n; ++i) bytes += encoder.token(ids[i]);
    return bytes;
  }

  py::bytes decode(const py::object& ids) const {
    const auto given = exact_array<std::uint32_t>(ids, "ids", "uint32", 1);
    std::string bytes;
    {
      const py::gil_scoped_release release;
      bytes = bytes_of(given.data(), given.size());
    }
    return py::bytes(bytes);
  }

  py::list decode_batch(const py::sequence& batch, int threads) const {
    const std::size_t n = n_threads(threads);
    std::vector<py::array_t<std::uint32_t, py::array::c_style>> held;
    for (const py::handle ids : batch)
      held.push_back(exact_array<std::uint32_t>(ids, "ids", "uint32", 1));
    std::vector<std::string> bytes(held.size());
    bool finished;
    {
      const py::gil_scoped_release release;
      finished = bpe::run_threads(held.size(), n, interrupted, [&](std::size_t item, std::size_t) {
        bytes[item] = bytes_of(held[item].data(), held[item].size());
      });
    }
    if (!finished) throw py::error_already_set();
    py::list texts(bytes.size());
    for (std::size_t i = 0; i < bytes.size(); ++i) texts[i] = py::bytes(bytes[i]);
    return texts;
  }
};

}  // namespace

void bind_bpe(py::module_& m) {
  py::class_<PyChunkCounts>(m, "ChunkCounts")
      .def(py::init<>())
      .def_property_readonly("n_chunks", [](PyChunkCounts& c) { return c.counts.n_chunks(); })
      .def_property_readonly("n_bytes", [](PyChunkCounts& c) { return c.counts.n_bytes(); })
      .def("__len__", &PyChunkCounts::size)
      .def("add_texts", &PyChunkCounts::add_texts, py::arg("texts"), py::arg("pattern"),
           py::arg("threads"))
      .def("add_file", &PyChunkCounts::add_file, py::arg("path"), py::arg("pattern"),
           py::arg("threads"))
      .def("add_chunks", &PyChunkCounts::add_chunks, py::arg("chunks"), py::arg("counts"))
      .def("items", &PyChunkCounts::items);
  m.def("bpe_train", &train, py::arg("counts"), py::arg("n_merges"), py::arg("ties"),
        py::arg("min_frequency"), py::arg("threads"));
  m.def("split", &split, py::arg("text"), py::arg("pattern"));
  m.def("bpe_splits", &splits, py::arg("tokens"));
  py::class_<PyEncoder>(m, "BpeEncoder")
      .def(py::init(&PyEncoder::make), py::arg("tokens"), py::arg("merges"), py::arg("pattern"),
           py::arg("whole_chunks"))
      .def("encode", &PyEncoder::encode, py::arg("text"))
      .def("encode_to_numpy", &PyEncoder::encode_to_numpy, py::arg("text"))
      .def("encode_with_offsets", &PyEncoder::encode_with_offsets, py::arg("text"))
      .def("encode_batch", &PyEncoder::encode_batch, py::arg("texts"), py::arg("threads"))
      .def("encode_batch_to_numpy", &PyEncoder::encode_batch_to_numpy, py::arg("texts"),
           py::arg("threads"))
      .def("encode_chunks", &PyEncoder::encode_chunks, py::arg("text"), py::arg("ends"))
      .def("decode", &PyEncoder::decode, py::arg("ids"))
      .def("decode_batch", &PyEncoder::decode_batch, py::arg("ids"), py::arg("threads"));
}

}  // namespace groundup
