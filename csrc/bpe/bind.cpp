// The BPE engine for Python. The GIL is released while the engine works; what it reads is held.
#include "bpe/bind.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "bpe/file.h"
#include "bpe/merge.h"
#include "bpe/threads.h"
#include "bpe/unicode.h"

namespace groundup {
namespace {

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

  // Any path that open() takes: what Python names files with, undecodable names included.
  std::size_t add_file(const py::object& path, const std::string& pattern, int threads) {
    const bpe::Pattern cut = pattern_named(pattern);
    const std::size_t n = n_threads(threads);
    PyObject* encoded = nullptr;
    if (!PyUnicode_FSConverter(path.ptr(), &encoded)) throw py::error_already_set();
    const auto name = py::reinterpret_steal<py::bytes>(encoded).cast<std::string>();
    const Alone alone(busy);
    bool finished = true;
    std::size_t n_bytes = 0;
    try {
      const py::gil_scoped_release release;
      const bpe::Interrupted asks = interrupted;
      bpe::TextFile file(name, cut, asks);
      while (finished) {
        const Text part = file.next();
        if (part.size == 0) break;
        n_bytes += part.size;
        finished = counts.add_texts({part}, cut, n, asks);
      }
    } catch (const bpe::Interruption&) {
      finished = false;
    } catch (const bpe::InvalidUtf8& invalid) {
      const auto shown = py::str(py::reinterpret_steal<py::object>(
          PyUnicode_DecodeFSDefaultAndSize(name.data(), static_cast<Py_ssize_t>(name.size()))));
      PyErr_SetObject(
          PyExc_ValueError,
          py::str("{}: expected UTF-8, but byte {} is not; convert the file (iconv -f ENCODING "
                  "-t UTF-8).")
              .format(shown, invalid.offset)
              .ptr());
      throw py::error_already_set();
    } catch (const std::system_error& error) {
      errno = error.code().value();
      PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path.ptr());
      throw py::error_already_set();
    }
    if (!finished) throw py::error_already_set();
    return n_bytes;
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

  std::uint64_t n_chunks() const { return counts.n_chunks(); }
  std::uint64_t n_bytes() const { return counts.n_bytes(); }

  std::size_t size() {
    const Alone alone(busy);
    return counts.n_distinct();
  }
};

py::tuple train(const py::handle& chunk_counts, std::int64_t n_merges, const std::string& ties,
                std::int64_t min_frequency, int threads) {
  auto& counts = made<PyChunkCounts>(chunk_counts);
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

}  // namespace

void bind_bpe(py::module_& m) {
  py::class_<PyChunkCounts>(m, "ChunkCounts")
      .def(py::init<>())
      .def_property_readonly("n_chunks", method(&PyChunkCounts::n_chunks))
      .def_property_readonly("n_bytes", method(&PyChunkCounts::n_bytes))
      .def("__len__", method(&PyChunkCounts::size))
      .def("add_texts", method(&PyChunkCounts::add_texts), py::arg("texts"), py::arg("pattern"),
           py::arg("threads"))
      .def("add_file", method(&PyChunkCounts::add_file), py::arg("path"), py::arg("pattern"),
           py::arg("threads"))
      .def("add_chunks", method(&PyChunkCounts::add_chunks), py::arg("chunks"), py::arg("counts"))
      .def("items", method(&PyChunkCounts::items));
  m.def("bpe_train", &train, py::arg("counts"), py::arg("n_merges"), py::arg("ties"),
        py::arg("min_frequency"), py::arg("threads"));
  m.def("split", &split, py::arg("text"), py::arg("pattern"));
  bind_bpe_encoder(m);
  bind_bpe_decoder(m);
  bind_bpe_readers(m);
}

}  // namespace groundup
