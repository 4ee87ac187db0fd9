// Counting and training for Python.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "bpe/alphabet.h"
#include "bpe/bind.h"
#include "bpe/count.h"
#include "bpe/count_file.h"
#include "bpe/file.h"
#include "bpe/merge.h"
#include "bpe/threads.h"

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

// Asked from the calling thread now and then: Ctrl-C, or an exception of `progress`, ends the work.
// Either is then the error that Python raises.
bpe::Interrupted asked(const py::object& progress, std::function<std::uint64_t()> done) {
  if (progress.is_none()) return interrupted;
  PyObject* const call = progress.ptr();  // the caller holds it
  return [call, done = std::move(done)] {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) return true;
    PyObject* const answer =
        PyObject_CallFunction(call, "K", static_cast<unsigned long long>(done()));
    Py_XDECREF(answer);
    return answer == nullptr;
  };
}

struct PyChunkCounts {
  PyChunkCounts(std::size_t memory_bytes, const py::object& folder)
      : folder(folder), counts(memory_bytes, path_bytes(folder)) {}

  py::object folder;  // of runs
  bpe::ChunkCounts counts;
  std::uint64_t n_steps = 0;  // of the last training
  std::atomic<bool> busy{false};
  bool broken = false;

  static std::string path_bytes(const py::handle& path) {
    PyObject* encoded = nullptr;
    if (!PyUnicode_FSConverter(path.ptr(), &encoded)) throw py::error_already_set();
    return py::reinterpret_steal<py::bytes>(encoded).cast<std::string>();
  }

  // What a call that fails half way has added cannot be told apart any more.
  void require_whole() const {
    if (broken)
      throw py::value_error(
          "counts: an earlier call broke off, and what it had counted so far is in them; count "
          "again into new ones.");
  }

  [[noreturn]] static void raise_os_error(int error, const char* more, const py::handle& path) {
    const std::string text = std::string(std::strerror(error)) + more;
    const auto made = py::reinterpret_borrow<py::object>(PyExc_OSError)(error, text, path);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.ptr())), made.ptr());
    throw py::error_already_set();
  }

  // Without the GIL, and told in Python's errors. Work that adds is not to be taken up again.
  template <class Work>
  void work(Work&& work, bool adds = false) {
    bool finished;
    broken = true;
    try {
      const py::gil_scoped_release release;
      finished = work();
    } catch (const bpe::SpillError& spill) {
      raise_os_error(spill.error,
                     " (chunk counts beyond memory_bytes go to this folder; make room there, name "
                     "another in TMPDIR, or allow more memory)",
                     folder);
    }
    broken = !finished && adds;
    if (!finished) throw py::error_already_set();
  }

  void add_texts(const py::sequence& texts, const std::string& pattern, int threads,
                 const py::object& progress) {
    const bpe::Pattern cut = pattern_named(pattern);
    const std::size_t n = n_threads(threads);
    const HeldTexts held(texts);
    const Alone alone(busy);
    require_whole();
    const auto ask = asked(progress, [this] { return counts.n_bytes_seen(); });
    work([&] { return counts.add_texts(held.texts, cut, n, ask); }, true);
  }

  // Any paths that open() takes: what Python names files with, undecodable names included.
  std::size_t add_files(const py::sequence& paths, const std::string& pattern, int threads,
                        const py::object& progress) {
    const bpe::Pattern cut = pattern_named(pattern);
    const std::size_t n = n_threads(threads);
    std::vector<std::string> names;
    for (const py::object path : paths) names.push_back(path_bytes(path));
    const Alone alone(busy);
    require_whole();
    const std::uint64_t before = counts.n_bytes();
    const auto ask = asked(progress, [this] { return counts.n_bytes_seen(); });
    try {
      work([&] { return counts.add_files(names, cut, n, ask); }, true);
    } catch (const bpe::FileFailure& failure) {
      const py::object path = paths[failure.file];
      if (failure.kind == bpe::FileFailure::Kind::unreadable)
        raise_os_error(failure.error, "", path);
      const auto shown = py::module_::import("os").attr("fspath")(path);
      PyErr_SetObject(
          PyExc_ValueError,
          py::str(failure.kind == bpe::FileFailure::Kind::no_utf8
                      ? "{}: expected UTF-8, but byte {} is not; convert the file (iconv -f "
                        "ENCODING -t UTF-8)."
                      : "{}: the file changed while its {} bytes were read; count a copy of it, "
                        "or wait until nothing writes it.")
              .format(shown, failure.offset)
              .ptr());
      throw py::error_already_set();
    }
    return counts.n_bytes() - before;
  }

  void add_chunks(const py::sequence& chunks, const py::sequence& numbers) {
    const Alone alone(busy);
    require_whole();
    if (py::len(chunks) != py::len(numbers))
      throw py::value_error("counts: expected one for each of the " +
                            std::to_string(py::len(chunks)) + " chunks, got " +
                            std::to_string(py::len(numbers)) + ".");
    const std::size_t n = py::len(chunks);
    std::vector<py::object> held;
    std::vector<bpe::CountedChunk> all;
    held.reserve(n), all.reserve(n);
    for (std::size_t i = 0; i < n; ++i) {
      const py::object chunk = chunks[i], number = numbers[i];
      char* bytes;
      Py_ssize_t size;
      if (PyBytes_AsStringAndSize(chunk.ptr(), &bytes, &size) != 0) throw py::error_already_set();
      const std::uint64_t count = PyLong_AsUnsignedLongLong(number.ptr());
      if (PyErr_Occurred()) throw py::error_already_set();
      held.push_back(chunk);
      all.push_back(
          {reinterpret_cast<const std::uint8_t*>(bytes), static_cast<std::size_t>(size), count, 0});
    }
    work(
        [&] {
          for (const bpe::CountedChunk& chunk : all)
            counts.add_chunk(chunk.bytes, chunk.size, chunk.count);
          return true;
        },
        true);
  }

  // The records of a count table: n_distinct of them in n_bytes from `offset` on.
  void add_records(int descriptor, std::uint64_t offset, std::uint64_t n_distinct,
                   std::uint64_t n_bytes, std::uint32_t crc, std::uint64_t span) {
    const Alone alone(busy);
    require_whole();
    const bpe::Interrupted ask = interrupted;
    try {
      bpe::CountReader records(descriptor, offset, {n_distinct, n_bytes, crc});
      work([&] { return counts.add_records(&records, span, ask); }, true);
    } catch (const bpe::Malformed& malformed) {
      throw py::value_error(malformed.what);
    } catch (const std::system_error& error) {
      raise_os_error(error.code().value(), "", py::none());
    }
  }

  // Appends all as records to an open file: (n_distinct, n_bytes, crc).
  py::tuple write_records(int descriptor) {
    const Alone alone(busy);
    require_whole();
    bpe::FileTotals totals;
    const bpe::Interrupted ask = interrupted;
    try {
      work([&] {
        bpe::CountWriter writer(descriptor);
        std::size_t n = 0;
        bool stopped = false;
        counts.for_each_sorted([&](const bpe::CountedChunk& chunk) {
          if (!stopped && ++n % 65536 == 0) stopped = ask();
          if (!stopped) writer.put(chunk);
        });
        totals = writer.finish();
        return !stopped;
      });
    } catch (const std::system_error& error) {
      broken = false;  // only the file is
      raise_os_error(error.code().value(), "", py::none());
    }
    return py::make_tuple(totals.n_distinct, totals.n_bytes, totals.crc);
  }

  // Of more than `limit` the most frequent, and of equals those that came first.
  py::list items(std::size_t limit) {
    const Alone alone(busy);
    require_whole();
    work([&] { return counts.list(), true; });
    const bpe::ChunkList& list = counts.list();
    std::uint64_t least = 0;
    std::size_t n_equal = list.size();
    if (limit == 0) return py::list();
    if (list.size() > limit) {
      std::vector<std::uint64_t> ordered = list.counts;
      const auto last = ordered.begin() + static_cast<std::ptrdiff_t>(limit - 1);
      std::nth_element(ordered.begin(), last, ordered.end(), std::greater<std::uint64_t>());
      least = *last;
      n_equal = limit - static_cast<std::size_t>(std::count_if(
                            ordered.begin(), last, [&](std::uint64_t n) { return n > least; }));
    }
    py::list items(std::min(limit, list.size()));
    std::size_t n = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (list.counts[i] < least) continue;
      if (list.counts[i] == least && n_equal-- == 0) {
        n_equal = 0;
        continue;
      }
      items[n++] = py::make_tuple(
          py::bytes(reinterpret_cast<const char*>(list.bytes.data()) + list.starts[i],
                    list.starts[i + 1] - list.starts[i]),
          list.counts[i]);
    }
    return items;
  }

  // {character: how often it occurs}
  py::dict characters() {
    const Alone alone(busy);
    require_whole();
    std::vector<std::pair<std::uint32_t, std::uint64_t>> found;
    work([&] { return found = bpe::count_code_points(counts.list()), true; });
    py::dict characters;
    for (const auto& [point, count] : found) {
      const auto name =
          py::reinterpret_steal<py::str>(PyUnicode_FromOrdinal(static_cast<int>(point)));
      if (!name) throw py::error_already_set();
      characters[name] = py::int_(count);
    }
    return characters;
  }

  std::uint64_t n_chunks() const { return counts.n_chunks(); }
  std::uint64_t n_bytes() const { return counts.n_bytes(); }
  std::uint64_t span() const { return counts.span(); }
  std::size_t n_runs_written() const { return counts.n_runs_written(); }
  std::uint64_t n_training_steps() const { return n_steps; }

  std::size_t size() {
    const Alone alone(busy);
    require_whole();
    std::size_t n = 0;
    work([&] { return n = counts.n_distinct(), true; });
    return n;
  }
};

// The code points of a str, which are an alphabet.
std::vector<std::uint32_t> code_points(const py::str& alphabet) {
  std::vector<std::uint32_t> points;
  const Py_ssize_t n = PyUnicode_GetLength(alphabet.ptr());
  for (Py_ssize_t i = 0; i < n; ++i) {
    const Py_UCS4 point = PyUnicode_ReadChar(alphabet.ptr(), i);
    if (point < 0x80 || (point >= 0xD800 && point < 0xE000))
      throw py::value_error("alphabet: expected characters beyond ASCII, got code point " +
                            std::to_string(point) + ".");
    points.push_back(point);
  }
  std::vector<std::uint32_t> sorted(points);
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    throw py::value_error("alphabet: expected distinct characters, got one twice.");
  return points;
}

// The (left, right) of merges to begin with, which make ids from n_base on in turn.
std::vector<std::pair<std::uint32_t, std::uint32_t>> known_merges(const py::object& known,
                                                                  std::size_t n_base) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
  if (known.is_none()) return pairs;
  const auto rows = exact_array<std::uint32_t>(known, "known", "uint32", 2);
  if (rows.shape(1) != 2)
    throw py::value_error("known: expected rows of (left, right), got " +
                          std::to_string(rows.shape(1)) + " columns.");
  for (py::ssize_t i = 0; i < rows.shape(0); ++i) {
    const std::uint32_t left = rows.at(i, 0), right = rows.at(i, 1);
    if (std::max(left, right) >= n_base + static_cast<std::size_t>(i))
      throw py::value_error("known: expected row " + std::to_string(i) +
                            " to join ids that exist by then, got (" + std::to_string(left) + ", " +
                            std::to_string(right) + ").");
    pairs.emplace_back(left, right);
  }
  return pairs;
}

py::tuple train(const py::handle& chunk_counts, std::int64_t n_merges, const std::string& ties,
                std::int64_t min_frequency, int threads, std::int64_t max_token_bytes,
                const py::object& known, const py::object& alphabet, const py::object& progress) {
  auto& counts = made<PyChunkCounts>(chunk_counts);
  bpe::TrainingRules rules;
  if (!bpe::find_ties(ties.c_str(), &rules.ties))
    throw py::value_error("ties: expected 'smallest_pair', 'huggingface' or 'first_seen', got '" +
                          ties + "'.");
  n_threads(threads);
  if (n_merges < 0 || n_merges > 0x7FFFFF00)
    throw py::value_error("n_merges: expected a number from 0 to 2^31 - 257, got " +
                          std::to_string(n_merges) + ".");
  if (min_frequency < 0)
    throw py::value_error("min_frequency: expected 0 or more, got " +
                          std::to_string(min_frequency) + ".");
  if (max_token_bytes < 0)
    throw py::value_error("max_token_bytes: expected 0 or more, got " +
                          std::to_string(max_token_bytes) + ".");
  rules.n_merges = static_cast<std::size_t>(n_merges);
  rules.min_frequency = static_cast<std::uint64_t>(min_frequency);
  rules.max_token_bytes =
      static_cast<std::uint32_t>(std::min<std::int64_t>(max_token_bytes, 0xFFFFFFFF));
  if (!alphabet.is_none()) rules.alphabet = code_points(alphabet.cast<py::str>());
  rules.known = known_merges(known, 256 + (rules.alphabet ? rules.alphabet->size() : 0));
  const Alone alone(counts.busy);
  counts.require_whole();
  std::vector<bpe::Merge> merges;
  const auto ask = asked(progress, [&merges] { return merges.size(); });
  counts.work([&] { return counts.counts.list(), true; });
  bool finished;
  {
    const py::gil_scoped_release release;
    finished = bpe::train(counts.counts.list(), rules, ask, &merges, &counts.n_steps);
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

}  // namespace

void bind_bpe_trainer(py::module_& m) {
  py::class_<PyChunkCounts>(m, "ChunkCounts")
      .def(py::init<std::size_t, const py::object&>(),
           py::arg("memory_bytes") = std::size_t{1} << 30, py::arg("folder") = "/tmp")
      .def_property_readonly("n_chunks", method(&PyChunkCounts::n_chunks))
      .def_property_readonly("n_bytes", method(&PyChunkCounts::n_bytes))
      .def_property_readonly("span", method(&PyChunkCounts::span))
      .def_property_readonly("n_runs_written", method(&PyChunkCounts::n_runs_written))
      .def_property_readonly("n_training_steps", method(&PyChunkCounts::n_training_steps))
      .def("__len__", method(&PyChunkCounts::size))
      .def("add_texts", method(&PyChunkCounts::add_texts), py::arg("texts"), py::arg("pattern"),
           py::arg("threads"), py::arg("progress") = py::none())
      .def("add_files", method(&PyChunkCounts::add_files), py::arg("paths"), py::arg("pattern"),
           py::arg("threads"), py::arg("progress") = py::none())
      .def("add_chunks", method(&PyChunkCounts::add_chunks), py::arg("chunks"), py::arg("counts"))
      .def("add_records", method(&PyChunkCounts::add_records), py::arg("descriptor"),
           py::arg("offset"), py::arg("n_distinct"), py::arg("n_bytes"), py::arg("crc"),
           py::arg("span"))
      .def("write_records", method(&PyChunkCounts::write_records), py::arg("descriptor"))
      .def("items", method(&PyChunkCounts::items), py::arg("limit") = ~std::size_t{0})
      .def("characters", method(&PyChunkCounts::characters));
  m.def("bpe_train", &train, py::arg("counts"), py::arg("n_merges"), py::arg("ties"),
        py::arg("min_frequency"), py::arg("threads"), py::arg("max_token_bytes") = 0xFFFFFFFF,
        py::arg("known") = py::none(), py::arg("alphabet") = py::none(),
        py::arg("progress") = py::none());
}

}  // namespace groundup
