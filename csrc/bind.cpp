// The table of contents of groundup._C. The only file, beside bpe/bind.cpp, that knows Python.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cross_entropy.h"
#include "isa.h"
#include "pages.h"
#include "parallel.h"

namespace py = pybind11;

namespace groundup {

void bind_bpe(py::module_& m);  // bpe/bind.cpp

namespace {

void bind_platform(py::module_& m) {
  m.def("isa", [] { return std::string(isa_name(active_isa())); });
  m.def("isas", [] {
    py::list names;
    for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
      if (machine_has(isa)) names.append(isa_name(isa));
    return names;
  });
  m.def("usable_threads", [] { return usable_threads(); });
}

template <class T>
T* pointer(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// The arguments that the three forms of cross_entropy share. A wrong size or code would write
// outside the buffers; shapes and dtypes themselves are the ops' to check.
CrossEntropy cross_entropy_job(std::uintptr_t logits, int dtype, std::int64_t n_rows,
                               std::int64_t n_classes, std::int64_t row_stride,
                               std::uintptr_t target, std::uintptr_t weight,
                               std::int64_t ignore_index, int reduction, double label_smoothing,
                               double lse_square_scale, double softcap) {
  if (dtype != 0 && dtype != 1)
    throw py::value_error("dtype: expected 0 (float32) or 1 (bfloat16), got " +
                          std::to_string(dtype));
  if (reduction < 0 || reduction > 2)
    throw py::value_error("reduction: expected 0 (none), 1 (mean) or 2 (sum), got " +
                          std::to_string(reduction));
  if (n_rows < 0 || n_classes < 1)
    throw py::value_error("expected n_rows >= 0 and n_classes >= 1, got " + std::to_string(n_rows) +
                          " and " + std::to_string(n_classes));
  CrossEntropy job{};
  job.logits = pointer<const void>(logits);
  job.is_bfloat16 = dtype == 1;
  job.n_rows = n_rows;
  job.n_classes = n_classes;
  job.row_stride = row_stride;
  job.target = pointer<const std::int64_t>(target);
  job.weight = pointer<const float>(weight);
  job.ignore_index = ignore_index;
  job.reduction = static_cast<Reduction>(reduction);
  job.label_smoothing = label_smoothing;
  job.lse_square_scale = lse_square_scale;
  job.softcap = softcap;
  job.n_threads = usable_threads();
  return job;
}

// Forward and in place differ in the function called, and in the space it works in.
template <class Call>
std::int64_t cross_entropy_loss(CrossEntropy job, std::uintptr_t loss, std::uintptr_t lse,
                                std::uintptr_t denominator, std::int64_t space, Call call) {
  job.loss = pointer<float>(loss);
  job.lse = pointer<float>(lse);
  job.denominator = pointer<float>(denominator);
  std::vector<double> row_loss(
      job.reduction == Reduction::none ? 0 : static_cast<std::size_t>(job.n_rows));
  job.row_loss = row_loss.data();
  const std::unique_ptr<float[]> floats(new float[static_cast<std::size_t>(space)]);
  job.space = floats.get();
  py::gil_scoped_release release;
  return call(job);
}

void bind_cross_entropy(py::module_& m) {
  using Address = std::uintptr_t;
  using Size = std::int64_t;
  m.def(
      "cross_entropy_forward_cpu",
      [](Address logits, int dtype, Size n_rows, Size n_classes, Size row_stride, Address target,
         Address weight, Size ignore_index, int reduction, double label_smoothing,
         double lse_square_scale, double softcap, Address loss, Address lse, Address denominator) {
        return cross_entropy_loss(
            cross_entropy_job(logits, dtype, n_rows, n_classes, row_stride, target, weight,
                              ignore_index, reduction, label_smoothing, lse_square_scale, softcap),
            loss, lse, denominator, 0,
            [](const CrossEntropy& job) { return GROUNDUP_CALL(cross_entropy_forward_cpu, job); });
      });
  m.def("cross_entropy_backward_cpu",
        [](Address logits, int dtype, Size n_rows, Size n_classes, Size row_stride, Address target,
           Address weight, Size ignore_index, int reduction, double label_smoothing,
           double lse_square_scale, double softcap, Address lse, Address denominator, Address dloss,
           Address dlogits, Size dlogits_row_stride) {
          CrossEntropy job = cross_entropy_job(logits, dtype, n_rows, n_classes, row_stride, target,
                                               weight, ignore_index, reduction, label_smoothing,
                                               lse_square_scale, softcap);
          job.lse = pointer<float>(lse);
          job.denominator = pointer<float>(denominator);
          job.dloss = pointer<const float>(dloss);
          job.dlogits = pointer<void>(dlogits);
          job.dlogits_row_stride = dlogits_row_stride;
          py::gil_scoped_release release;
          const Size last_row = (n_rows > 0 ? n_rows - 1 : 0) * dlogits_row_stride;
          advise_huge_pages(job.dlogits, static_cast<std::size_t>(last_row + n_classes) *
                                             (job.is_bfloat16 ? 2 : 4));
          GROUNDUP_CALL(cross_entropy_backward_cpu, job);
        });
  m.def(
      "cross_entropy_inplace_cpu",
      [](Address logits, int dtype, Size n_rows, Size n_classes, Size row_stride, Address target,
         Address weight, Size ignore_index, int reduction, double label_smoothing,
         double lse_square_scale, double softcap, Address loss, Address lse, Address denominator) {
        const CrossEntropy job =
            cross_entropy_job(logits, dtype, n_rows, n_classes, row_stride, target, weight,
                              ignore_index, reduction, label_smoothing, lse_square_scale, softcap);
        const Size space = job.is_bfloat16 ? job.n_threads * cross_entropy_space(n_classes) : 0;
        return cross_entropy_loss(job, loss, lse, denominator, space, [](const CrossEntropy& job) {
          return GROUNDUP_CALL(cross_entropy_inplace_cpu, job);
        });
      });
}

}  // namespace
}  // namespace groundup

PYBIND11_MODULE(_C, m) {
  if (const char* complaint = groundup::choose_isa()) throw py::import_error(complaint);
  m.attr("__version__") = GROUNDUP_VERSION;
  groundup::watch_forks();
  groundup::bind_platform(m);
  groundup::bind_cross_entropy(m);
  groundup::bind_bpe(m);
}
