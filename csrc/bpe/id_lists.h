// Ids as lists of Python ints. All of it under the GIL.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bpe/bind.h"

namespace groundup {

// The ints of a vocabulary, each made once: most ids of a text have stood in it before, and to
// count a reference is cheaper than to make an int.
class Ints {
 public:
  explicit Ints(std::size_t n) : ints_(n) {}
  ~Ints() {
    for (PyObject* each : ints_) Py_XDECREF(each);
  }
  Ints(const Ints&) = delete;

  py::list list_of(const std::uint32_t* ids, std::size_t n) {
    py::list list(n);
    fill(list, 0, ids, n);
    return list;
  }

  // Sets list[at, at + n), which nothing stands in yet.
  void fill(const py::object& list, std::size_t at, const std::uint32_t* ids, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      if (i + kAhead < n) __builtin_prefetch(ints_[ids[i + kAhead]], 1);
      PyObject*& each = ints_[ids[i]];
      if (each == nullptr) each = PyLong_FromUnsignedLong(ids[i]);
      if (each == nullptr) throw py::error_already_set();
      Py_INCREF(each);
      PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(at + i), each);
    }
  }

 private:
  static constexpr std::size_t kAhead = 16;  // ints asked for before their counts are raised

  std::vector<PyObject*> ints_;
};

// The list of a text whose ids come in several pieces. It is made with the first, as long as the
// text will probably need: to join lists would go through every reference twice more.
class ListOfPieces {
 public:
  // Appends the ids of the text's next `size` bytes, behind which `rest` more follow.
  void append(Ints* ints, const std::uint32_t* ids, std::size_t n, std::size_t size,
              std::size_t rest) {
    if (!list_) {
      list_ = py::list(expected(n, size, rest));
      // Other threads run between pieces, and could get at it, not yet filled, through gc.
      PyObject_GC_UnTrack(list_.ptr());
    }
    if (PyList_GET_SIZE(list_.ptr()) < static_cast<Py_ssize_t>(n_filled_ + n)) {
      end_at_filled();
      join(ints->list_of(ids, n));
    } else {
      ints->fill(list_, n_filled_, ids, n);
    }
    n_filled_ += n;
    if (rest > 0) return;
    end_at_filled();
    PyObject_GC_Track(list_.ptr());
  }
  py::object take() { return list_ ? std::move(list_) : py::list(); }

 private:
  static std::size_t expected(std::size_t n, std::size_t size, std::size_t rest) {
    if (rest == 0) return n;
    // Two bytes an id and less are those of a rare text, or of a beginning that tells little.
    const double rate = std::min(1.05 * static_cast<double>(n) / static_cast<double>(size), 0.5);
    return n + static_cast<std::size_t>(rate * static_cast<double>(rest)) + 64;
  }
  void end_at_filled() {
    PyObject* const list = list_.ptr();
    const Py_ssize_t size = PyList_GET_SIZE(list), filled = static_cast<Py_ssize_t>(n_filled_);
    if (size == filled) return;
    // What a slice takes away has to be objects: one is, and the memory behind it stays untouched.
    Py_INCREF(Py_None);
    PyList_SET_ITEM(list, filled, Py_None);
    Py_SET_SIZE(list, filled + 1);
    if (PyList_SetSlice(list, filled, filled + 1, nullptr) != 0) throw py::error_already_set();
  }
  void join(const py::list& more) {
    const Py_ssize_t size = PyList_GET_SIZE(list_.ptr());
    if (PyList_SetSlice(list_.ptr(), size, size, more.ptr()) != 0) throw py::error_already_set();
  }

  py::object list_;  // a list; null before the first
  std::size_t n_filled_ = 0;
};

}  // namespace groundup
