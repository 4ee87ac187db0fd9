// Where AdamW's tensors lie, asked of torch at every step, in one loop without Python's.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "adamw.h"
#include "dlpack.h"
#include "made.h"

namespace py = pybind11;

namespace groundup {
namespace {

using dlpack::TensorView;

// How a tensor lies in memory. Where a size is 1 its stride says nothing.
struct Layout {
  std::vector<std::int64_t> shape, strides;

  explicit Layout(const TensorView& view)
      : shape(view.shape, view.shape + view.n_dimensions),
        strides(view.strides, view.strides + view.n_dimensions) {}

  bool fits(const TensorView& view) const {
    if (view.n_dimensions != static_cast<std::int32_t>(shape.size())) return false;
    for (std::size_t i = 0; i < shape.size(); ++i)
      if (view.shape[i] != shape[i] || (shape[i] != 1 && view.strides[i] != strides[i]))
        return false;
    return true;
  }
  bool empty() const {
    for (const std::int64_t size : shape)
      if (size == 0) return true;
    return false;
  }
};

// Remembers how the tensors of a step lay. look() says whether they are still the same objects,
// lie as they did, and where they are now. It never says yes on the strength of memory: each tensor
// is asked anew, so that one which was moved, resized, cast, released or replaced is found. Tensors
// are held by the caller, in Python, where the garbage collector sees through cycles.
class AdamWTensors {
 public:
  AdamWTensors(const py::capsule& exchange, py::tuple plain, py::object is_neg,
               const py::list& columns, std::vector<std::int64_t> groups_of)
      : plain_(std::move(plain)), is_neg_(std::move(is_neg)), groups_of_(std::move(groups_of)) {
    const auto* table = static_cast<const dlpack::ExchangeTable*>(
        PyCapsule_GetPointer(exchange.ptr(), dlpack::kCapsuleName));
    if (!table) throw py::error_already_set();
    while (table && table->major > dlpack::kMajorVersion) table = table->previous;
    if (!table || table->major != dlpack::kMajorVersion || !table->view_of)
      throw py::value_error("torch's DLPack table: expected version 1 with tensors' views");
    view_of_ = table->view_of;
    shapes_.resize(groups_of_.size() * (kColumns + 1));
    require_columns(columns);
    for (std::size_t t = 0; t < groups_of_.size(); ++t) {
      TensorView view;
      see(item(item(columns, 0), t), view);
      layouts_.emplace_back(view);
      for (std::size_t c = 0; c < kColumns; ++c) {
        PyObject* const tensor = item(item(columns, c), t);
        View seen{};
        if (tensor != Py_None) {
          see(tensor, view);
          seen = {address(view), view.device_type, view.device_id, view.dtype_code,
                  view.dtype_bits};
        }
        seen_.push_back(seen);
      }
    }
  }

  // The gradients, in the order of the parameters, or None where anything is otherwise than it was.
  // Writes the addresses, (kAdamWColumns, n_tensors).
  py::object look(const py::list& groups, const py::dict& state, std::uintptr_t pointers,
                  const py::list& columns, const py::list& states, const py::list& entries) const {
    const std::size_t n = groups_of_.size();
    require_columns(columns);
    if (states.size() != n) throw py::value_error("expected a state for each parameter");
    if (!same_entries(state, entries)) return py::none();
    auto* const out = reinterpret_cast<void**>(pointers);
    py::list grads(n);
    std::size_t t = 0;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const py::list members = groups[g][params_key_];
      for (std::size_t i = 0; i < members.size(); ++i) {
        const py::object param = members[i];
        if (!is_plain(param)) return py::none();
        py::object grad = param.attr(grad_key_);
        if (grad.is_none()) continue;
        if (t == n || param.ptr() != item(item(columns, 0), t) ||
            groups_of_[t] != static_cast<std::int64_t>(g) || !is_plain(grad))
          return py::none();
        prefetch(columns, t + kAhead);
        if (!look_at(t, columns, states, grad, out)) return py::none();
        grads[t++] = std::move(grad);
      }
    }
    if (t < n) return py::none();
    return grads;
  }

 private:
  static constexpr std::size_t kAhead = 6;
  static constexpr std::size_t kColumns = 5;  // param, exp_avg, exp_avg_sq, max_exp_avg_sq, step
  static constexpr int kColumnOf[kColumns] = {kParam, kExpAvg, kExpAvgSq, kMaxExpAvgSq, kStep};

  struct View {
    void* address;
    std::int32_t device_type, device_id;
    std::uint8_t dtype_code, dtype_bits;
  };

  static void* address(const TensorView& view) {
    return view.data ? static_cast<char*>(view.data) + view.byte_offset : nullptr;
  }

  // Borrowed. The lists are a Table's own, which nothing changes.
  static PyObject* item(const py::handle& list, std::size_t i) {
    return PyList_GET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i));
  }

  void require_columns(const py::list& columns) const {
    bool right = columns.size() == kColumns;
    for (const py::handle column : columns)
      right = right && PyList_Check(column.ptr()) && py::len(column) == groups_of_.size();
    if (!right) throw py::value_error("expected five lists with an entry for each parameter");
  }

  void see(PyObject* tensor, TensorView& view) const {
    if (view_of_(tensor, &view) != 0) throw py::error_already_set();
  }

  bool is_plain(const py::handle& tensor) const {
    for (const py::handle type : plain_)
      if (Py_TYPE(tensor.ptr()) == reinterpret_cast<PyTypeObject*>(type.ptr())) return true;
    return false;
  }

  static bool same_entries(const py::dict& state, const py::list& entries) {
    if (state.size() != entries.size()) return false;
    std::size_t i = 0;
    for (const auto [key, value] : state) {
      PyObject* const entry = item(entries, i++);
      if (!PyTuple_Check(entry) || PyTuple_GET_SIZE(entry) != 2 ||
          key.ptr() != PyTuple_GET_ITEM(entry, 0) || value.ptr() != PyTuple_GET_ITEM(entry, 1))
        return false;
    }
    return true;
  }

  // The step that follows each look sweeps what torch keeps of the tensors out of the caches. Their
  // shapes lie within it, mostly where they lay last time; an address that is stale costs nothing.
  void prefetch(const py::list& columns, std::size_t t) const {
    if (t >= groups_of_.size()) return;
    for (std::size_t c = 0; c < kColumns; ++c) __builtin_prefetch(item(item(columns, c), t));
    for (std::size_t c = 0; c <= kColumns; ++c) {
      const char* const shape = shapes_[t * (kColumns + 1) + c];
      for (int line = -1; line <= 1; ++line) __builtin_prefetch(shape + 64 * line);
    }
  }

  bool look_at(std::size_t t, const py::list& columns, const py::list& states,
               const py::object& grad, void** out) const {
    const std::size_t n = groups_of_.size();
    const char** const shape = &shapes_[t * (kColumns + 1)];
    for (std::size_t c = 0; c < kColumns; ++c) {
      PyObject* const known = item(item(columns, c), t);
      void*& place = out[static_cast<std::size_t>(kColumnOf[c]) * n + t];
      place = nullptr;
      if (known == Py_None) continue;
      if (c > 0) {
        if (!PyDict_Check(item(states, t))) return false;
        PyObject* const now = PyDict_GetItemWithError(item(states, t), keys_[c - 1].ptr());
        if (!now && PyErr_Occurred()) throw py::error_already_set();
        if (now != known) return false;
      }
      // A parameter or moment at another address may lie over another one: that is for Python.
      const View& before = seen_[t * kColumns + c];
      if (!find(known, layouts_[t], before, kColumnOf[c] == kStep, place, shape[c]) ||
          place != before.address)
        return false;
    }
    void*& place = out[static_cast<std::size_t>(kGrad) * n + t];
    if (!find(grad.ptr(), layouts_[t], seen_[t * kColumns], false, place, shape[kColumns]))
      return false;
    const py::object negated =
        py::reinterpret_steal<py::object>(PyObject_CallOneArg(is_neg_.ptr(), grad.ptr()));
    if (!negated) throw py::error_already_set();
    return negated.ptr() == Py_False;
  }

  // Whether a tensor lies as `layout` on the device and in the dtype of `before`, and where.
  bool find(PyObject* tensor, const Layout& layout, const View& before, bool scalar, void*& place,
            const char*& shape) const {
    TensorView view;
    if (view_of_(tensor, &view) != 0) {  // sparse, or without storage: Python says so
      PyErr_Clear();
      return false;
    }
    place = address(view);
    shape = reinterpret_cast<const char*>(view.shape);
    if (view.device_type != before.device_type || view.device_id != before.device_id ||
        view.dtype_code != before.dtype_code || view.dtype_bits != before.dtype_bits ||
        view.dtype_lanes != 1)
      return false;
    if (scalar) return view.n_dimensions == 0 && place;
    return layout.fits(view) && (place || layout.empty());
  }

  py::tuple plain_;
  py::object is_neg_;
  std::vector<std::int64_t> groups_of_;
  std::vector<Layout> layouts_;
  std::vector<View> seen_;                   // (n_tensors, kColumns)
  mutable std::vector<const char*> shapes_;  // (n_tensors, kColumns + 1), the gradients' last
  py::str params_key_{"params"}, grad_key_{"grad"};
  py::str keys_[kColumns - 1] = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"};
  int (*view_of_)(void*, TensorView*) = nullptr;
};

}  // namespace

void bind_adamw_tensors(py::module_& m) {
  py::class_<AdamWTensors>(m, "AdamWTensors")
      .def(py::init<const py::capsule&, py::tuple, py::object, const py::list&,
                    std::vector<std::int64_t>>())
      .def("look", method(&AdamWTensors::look));
}

}  // namespace groundup
