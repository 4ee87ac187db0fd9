// What the bindings of all stages share: arguments checked and held, results handed over.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bpe/count.h"
#include "bpe/split.h"
#include "made.h"

namespace groundup {

namespace py = pybind11;

void bind_bpe_trainer(py::module_& m);  // bind_train.cpp

void bind_bpe_encoder(py::module_& m);  // bind_encode.cpp

void bind_bpe_decoder(py::module_& m);  // bind_decode.cpp

void bind_bpe_readers(py::module_& m);  // bind_read.cpp

using bpe::Text;

inline std::vector<std::string> token_bytes(const py::sequence& tokens) {
  const auto held = py::reinterpret_steal<py::object>(
      PySequence_Fast(tokens.ptr(), "tokens: expected a sequence of bytes"));
  if (!held) throw py::error_already_set();
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(held.ptr());
  std::vector<std::string> bytes;
  bytes.reserve(static_cast<std::size_t>(n));
  for (Py_ssize_t i = 0; i < n; ++i) {
    char* at;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(PySequence_Fast_GET_ITEM(held.ptr(), i), &at, &size) != 0)
      throw py::error_already_set();
    bytes.emplace_back(at, static_cast<std::size_t>(size));
  }
  return bytes;
}

inline bool interrupted() {
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

inline bpe::Pattern pattern_named(const std::string& name) {
  bpe::Pattern pattern;
  if (bpe::find_pattern(name.c_str(), &pattern)) return pattern;
  throw py::value_error(
      "pattern: expected one with a native scanner (gpt2, gpt4, gpt4o, indic-math, none), got '" +
      name +
      "'; groundup.tokenizer splits any other with the regex module and hands "
      "over the chunks.");
}

inline std::size_t n_threads(int threads) {
  if (threads < 1)
    throw py::value_error("threads: expected 1 or more, got " + std::to_string(threads) + ".");
  return static_cast<std::size_t>(threads);
}

// The str's UTF-8, which lives as long as the str. A lone surrogate raises UnicodeEncodeError.
inline Text utf8_of(py::handle text) {
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
    for (const py::object item : sequence) {
      if (!PyUnicode_Check(item.ptr()))
        throw py::type_error("texts: expected str, got " +
                             std::string(Py_TYPE(item.ptr())->tp_name) + " at index " +
                             std::to_string(held.size()) + ".");
      texts.push_back(utf8_of(item));
      held.push_back(item);
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

}  // namespace groundup
