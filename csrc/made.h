// Whether a bound object was made by its __init__. pybind11 hands out memory that nothing was built
// in for an object that comes from __new__ alone, and every method would run on it.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <utility>

namespace groundup {

inline bool is_made(PyObject* self) {
  auto* instance = reinterpret_cast<pybind11::detail::instance*>(self);
  return instance->get_value_and_holder().holder_constructed();
}

inline std::string not_made(PyObject* self) {
  return std::string(Py_TYPE(self)->tp_name) +
         ": expected one made by calling it, got one from __new__ alone, which holds nothing.";
}

template <class T>
T& made(const pybind11::handle& self) {
  if (!pybind11::isinstance<T>(self))
    throw pybind11::type_error(
        "self: expected a " +
        pybind11::type::of<T>().attr("__name__").template cast<std::string>() + ", got " +
        std::string(Py_TYPE(self.ptr())->tp_name) + ".");
  if (!is_made(self.ptr())) throw pybind11::type_error(not_made(self.ptr()));
  return pybind11::cast<T&>(self);
}

// A method as a function of `self` that asks `made` first.
template <class T, class R, class... Arguments>
auto method(R (T::*call)(Arguments...)) {
  return [call](const pybind11::handle& self, Arguments... arguments) {
    return (made<T>(self).*call)(std::forward<Arguments>(arguments)...);
  };
}
template <class T, class R, class... Arguments>
auto method(R (T::*call)(Arguments...) const) {
  return [call](const pybind11::handle& self, Arguments... arguments) {
    return (made<T>(self).*call)(std::forward<Arguments>(arguments)...);
  };
}

// For a class with py::buffer_protocol(), whose buffer is asked for past every method.
inline void export_buffer_of_made(PyHeapTypeObject* type) {
  type->as_buffer.bf_getbuffer = [](PyObject* self, Py_buffer* view, int flags) {
    if (is_made(self)) return pybind11::detail::pybind11_getbuffer(self, view, flags);
    view->obj = nullptr;
    PyErr_SetString(PyExc_BufferError, not_made(self).c_str());
    return -1;
  };
}

}  // namespace groundup
