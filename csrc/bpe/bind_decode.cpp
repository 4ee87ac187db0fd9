// BpeDecoder for Python, and the readers of tiktoken's ranks.
#include <algorithm>

#include "bpe/bind.h"
#include "bpe/decode.h"
#include "bpe/ranks.h"
#include "bpe/utf8.h"

namespace groundup {
namespace {

using bpe::ByteBuffer;

constexpr std::uint64_t kTopBits = 0x8080808080808080u;
constexpr std::size_t kRoom = 4096;                     // what one batch of short tokens may take
constexpr std::size_t kManyIds = std::size_t{1} << 14;  // worth giving the GIL away for

constexpr Py_ssize_t kAhead = 16;  // ints asked for before they are read

// The value of an int, -1 for anything else: for no int is any id.
std::int64_t id_of(PyObject* object) {
  if (!PyLong_CheckExact(object)) return -1;
#if PY_VERSION_HEX >= 0x030C0000
  const auto* number = reinterpret_cast<const PyLongObject*>(object);
  if (PyUnstable_Long_IsCompact(number)) return PyUnstable_Long_CompactValue(number);
#elif PY_VERSION_HEX >= 0x030B0000
  if (Py_SIZE(object) == 1) return reinterpret_cast<const PyLongObject*>(object)->ob_digit[0];
#endif
  int overflow;
  const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
  return overflow ? -1 : value;
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

py::object read_ranks(const py::bytes& lines) {
  char* at;
  Py_ssize_t n;
  if (PyBytes_AsStringAndSize(lines.ptr(), &at, &n) != 0) throw py::error_already_set();
  std::vector<std::string> tokens;
  bool all_read;
  {
    const py::gil_scoped_release release;
    all_read = bpe::read_ranks(at, static_cast<std::size_t>(n), &tokens);
  }
  if (!all_read) return py::none();
  py::list list(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    PyObject* token =
        PyBytes_FromStringAndSize(tokens[i].data(), static_cast<Py_ssize_t>(tokens[i].size()));
    if (token == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), token);
  }
  return std::move(list);
}

// Whether there may be a character beyond U+00FF, and none beyond U+FFFF.
bool may_be_wide(const char* bytes, std::size_t n) {
  std::uint8_t largest = 0;
  for (std::size_t i = 0; i < n; ++i)
    largest = std::max(largest, static_cast<std::uint8_t>(bytes[i]));
  return largest >= 0xC4 && largest < 0xF0;
}

// A new str of UTF-8, as Python's own decoder makes it; under the GIL. That one goes character by
// character, and is asked where the bytes are short, faulty, or have a character that is rare.
PyObject* str_of(const char* bytes, std::size_t n, const char* errors) {
  constexpr std::size_t kWorthwhile = 64;
  if (n >= kWorthwhile && may_be_wide(bytes, n)) {
    PyObject* str = PyUnicode_New(static_cast<Py_ssize_t>(n), 0xFFFF);
    if (str == nullptr) return nullptr;
    const std::size_t size = GROUNDUP_CALL(
        utf8_to_wide, reinterpret_cast<const std::uint8_t*>(bytes), n, PyUnicode_2BYTE_DATA(str));
    if (size != kNotWide) {
      PyUnicode_Resize(&str, static_cast<Py_ssize_t>(size));  // null with an error set if it fails
      return str;
    }
    Py_DECREF(str);
  }
  return PyUnicode_DecodeUTF8(bytes, static_cast<Py_ssize_t>(n), errors);
}

// A str that is written as if it were ASCII, in place; under the GIL. If it was not, its bytes are
// UTF-8 that a str is yet to be made of.
class AsciiBuffer {
 public:
  explicit AsciiBuffer(std::size_t expected) : capacity_(expected) {
    str_ = PyUnicode_New(static_cast<Py_ssize_t>(expected), 127);
    if (str_ == nullptr) throw py::error_already_set();
  }
  ~AsciiBuffer() { Py_XDECREF(str_); }
  AsciiBuffer(const AsciiBuffer&) = delete;

  char* room(std::size_t n) {
    if (capacity_ - size_ < n) resize(std::max(size_ + n, capacity_ + capacity_ / 2));
    return data() + size_;
  }
  void wrote(const char* end) noexcept { size_ = static_cast<std::size_t>(end - data()); }

  py::object str(bool is_ascii, const char* errors) {
    PyObject* made = nullptr;
    if (is_ascii && size_ > 0) {
      resize(size_);
      std::swap(made, str_);
    } else {
      made = str_of(data(), size_, errors);
    }
    if (made == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(made);
  }

 private:
  char* data() const noexcept { return reinterpret_cast<char*>(PyUnicode_1BYTE_DATA(str_)); }
  void resize(std::size_t n) {
    if (PyUnicode_Resize(&str_, static_cast<Py_ssize_t>(n)) != 0) throw py::error_already_set();
    capacity_ = n;
  }

  PyObject* str_;
  std::size_t capacity_;
  std::size_t size_ = 0;
};

struct PyDecoder {
  bpe::Decoder decoder;

  // False for what is neither a list of ints nor a dense row of them, and for an id without bytes.
  bool append(const py::handle& ids, ByteBuffer* bytes) const {
    std::uint64_t seen;
    if (PyList_CheckExact(ids.ptr())) return append_list(ids, bytes, &seen);
    return append_row<std::uint32_t>(ids, bytes) || append_row<std::int64_t>(ids, bytes) ||
           append_row<std::int32_t>(ids, bytes) || append_row<std::uint16_t>(ids, bytes);
  }

  // Runs no Python code, so the list stays as it is.
  template <class Bytes>
  bool append_list(const py::handle& ids, Bytes* bytes, std::uint64_t* seen) const {
    PyObject* const list = ids.ptr();
    const Py_ssize_t n = PyList_GET_SIZE(list);
    const auto id_at = [list, n](std::size_t i) {
      const auto at = static_cast<Py_ssize_t>(i);
      if (at + kAhead < n) __builtin_prefetch(PyList_GET_ITEM(list, at + kAhead));
      return id_of(PyList_GET_ITEM(list, at));
    };
    return decoder.decode(static_cast<std::size_t>(n), id_at, bytes, seen);
  }

  template <class T>
  bool append_row(const py::handle& ids, ByteBuffer* bytes) const {
    constexpr int kDense = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if (!py::isinstance<py::array_t<T>>(ids)) return false;
    const auto row = py::reinterpret_borrow<py::array_t<T>>(ids);
    if (row.ndim() != 1 || (row.flags() & kDense) != kDense) return false;
    const T* values = row.data();
    const auto n = static_cast<std::size_t>(row.size());
    const auto at = [&](std::size_t i) { return values[i]; };
    std::uint64_t seen;
    if (n < kManyIds) return decoder.decode(n, at, bytes, &seen);
    const py::gil_scoped_release release;
    return decoder.decode(n, at, bytes, &seen);
  }

  py::object decode(const py::object& ids, const std::string& errors) const {
    if (PyList_CheckExact(ids.ptr())) {
      // Tokens are some four bytes long; a batch's room is asked for on top.
      const auto n = static_cast<std::size_t>(PyList_GET_SIZE(ids.ptr()));
      AsciiBuffer text(5 * n + kRoom);
      std::uint64_t seen;
      if (!append_list(ids, &text, &seen)) return py::none();
      return text.str((seen & kTopBits) == 0, errors.c_str());
    }
    ByteBuffer bytes;
    if (!append(ids, &bytes)) return py::none();
    PyObject* text = str_of(bytes.data(), bytes.size(), errors.c_str());
    if (text == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(text);
  }

  py::object decode_bytes(const py::object& ids) const {
    ByteBuffer bytes;
    if (!append(ids, &bytes)) return py::none();
    return py::bytes(bytes.data(), bytes.size());
  }
};

}  // namespace

void bind_bpe_decoder(py::module_& m) {
  m.def("bpe_splits", &splits, py::arg("tokens"));
  m.def("bpe_read_ranks", &read_ranks, py::arg("lines"));
  py::class_<PyDecoder>(m, "BpeDecoder")
      .def(py::init([](const py::sequence& tokens) {
             return new PyDecoder{bpe::Decoder(token_bytes(tokens))};
           }),
           py::arg("tokens"))
      .def("decode", method(&PyDecoder::decode), py::arg("ids"), py::arg("errors"))
      .def("decode_bytes", method(&PyDecoder::decode_bytes), py::arg("ids"));
}

}  // namespace groundup
