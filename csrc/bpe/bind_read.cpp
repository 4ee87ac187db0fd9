// The readers of the tokenizer's own file, for Python. None: the caller reads it again, slowly, to
// say what is wrong.
#include <cstring>

#include "bpe/bind.h"
#include "bpe/rows.h"

namespace groundup {
namespace {

// Rows (n, 3) and counts (n,), empty for width 3, of contents[begin:].
py::object read_rows(const py::bytes& contents, std::size_t begin, std::size_t width) {
  char* at;
  Py_ssize_t n;
  if (PyBytes_AsStringAndSize(contents.ptr(), &at, &n) != 0) throw py::error_already_set();
  if (begin > static_cast<std::size_t>(n) || (width != 3 && width != 4))
    throw py::value_error("bpe_read_rows: expected begin within contents, and width 3 or 4.");
  std::vector<std::uint32_t> rows;
  std::vector<std::uint64_t> counts;
  bool all_read;
  {
    const py::gil_scoped_release release;
    all_read = bpe::read_rows(at + begin, at + n, width, &rows, &counts);
  }
  if (!all_read) return py::none();
  const auto n_rows = static_cast<py::ssize_t>(rows.size() / 3);
  return py::make_tuple(to_numpy(std::move(rows)).reshape({n_rows, py::ssize_t{3}}),
                        to_numpy(std::move(counts)));
}

// A token is written where it will stand, from two that stand already.
py::object tokens_of_rows(const py::object& merges, std::size_t max_bytes) {
  const auto rows = exact_array<std::uint32_t>(merges, "merges", "uint32", 2);
  if (rows.shape(1) != 3)
    throw py::value_error("merges: expected shape (n, 3): left, right, id; got (" +
                          std::to_string(rows.shape(0)) + ", " + std::to_string(rows.shape(1)) +
                          ").");
  const auto n_rows = static_cast<std::size_t>(rows.shape(0));
  std::vector<std::size_t> ends;
  if (!bpe::ends_of_rows(rows.data(), n_rows, max_bytes, &ends)) return py::none();
  py::list tokens(ends.size());
  std::vector<const char*> bytes(ends.size());
  for (std::size_t id = 0; id < ends.size(); ++id) {
    const std::size_t size = ends[id] - (id ? ends[id - 1] : 0);
    PyObject* const token = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size));
    if (token == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(tokens.ptr(), static_cast<Py_ssize_t>(id), token);
    char* const out = PyBytes_AS_STRING(token);
    if (id < 256) {
      *out = static_cast<char>(id);
    } else {
      const std::uint32_t* row = rows.data() + 3 * (id - 256);
      const std::size_t left = ends[row[0]] - (row[0] ? ends[row[0] - 1] : 0);
      std::memcpy(out, bytes[row[0]], left);
      std::memcpy(out + left, bytes[row[1]], size - left);
    }
    bytes[id] = out;
  }
  return std::move(tokens);
}

std::int64_t last_seen(const py::bytes& between) {
  char* at;
  Py_ssize_t n;
  if (PyBytes_AsStringAndSize(between.ptr(), &at, &n) != 0) throw py::error_already_set();
  return bpe::last_seen(at, at + n);
}

}  // namespace

void bind_bpe_readers(py::module_& m) {
  m.def("bpe_read_rows", &read_rows, py::arg("contents"), py::arg("begin"), py::arg("width"));
  m.def("bpe_last_seen", &last_seen, py::arg("between"));
  m.def("bpe_tokens_of_rows", &tokens_of_rows, py::arg("merges"), py::arg("max_bytes"));
}

}  // namespace groundup
