// The table of contents of groundup._C. Beside bpe/bind*.cpp, bind_adamw.cpp, bind_attention.cpp
// and bind_linear.cpp the only file that knows Python.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "adamw.h"
#include "cross_entropy.h"
#include "gelu.h"
#include "isa.h"
#include "layer_norm.h"
#include "made.h"
#include "pages.h"
#include "parallel.h"

namespace py = pybind11;

namespace groundup {

void bind_adamw_tensors(py::module_& m);  // bind_adamw.cpp
void bind_attention(py::module_& m);      // bind_attention.cpp
void bind_bpe(py::module_& m);            // bpe/bind.cpp
void bind_linear(py::module_& m);         // bind_linear.cpp

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
  m.def("run_serially", &run_serially);
  py::class_<Pages>(m, "Pages", py::buffer_protocol(), py::custom_type_setup(export_buffer_of_made))
      .def(py::init<std::size_t>())
      .def_buffer([](const Pages& pages) {
        return py::buffer_info(static_cast<unsigned char*>(pages.begin()),
                               static_cast<py::ssize_t>(pages.size()));
      });
}

template <class T>
T* pointer(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

void require_dtype(int dtype) {
  if (dtype != 0 && dtype != 1)
    throw py::value_error("dtype: expected 0 (float32) or 1 (bfloat16), got " +
                          std::to_string(dtype));
}

std::size_t bytes_of(std::int64_t n, int dtype) {
  return static_cast<std::size_t>(n) * (dtype == 1 ? 2 : 4);
}

// The arguments that the three forms of cross_entropy share. A wrong size or code would write
// outside the buffers; shapes and dtypes themselves are the ops' to check.
CrossEntropy cross_entropy_job(std::uintptr_t logits, int dtype, std::int64_t n_rows,
                               std::int64_t n_classes, std::int64_t row_stride,
                               std::uintptr_t target, std::uintptr_t weight,
                               std::int64_t ignore_index, int reduction, double label_smoothing,
                               double lse_square_scale, double softcap) {
  require_dtype(dtype);
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

// The table is checked before anything is written: its sizes and kinds steer the pointers.
double adamw_step(std::int64_t n_tensors, std::uintptr_t pointers, std::uintptr_t sizes,
                  std::uintptr_t kinds, std::uintptr_t groups_of, std::int64_t n_groups,
                  std::uintptr_t groups, double max_grad_norm, bool write_grads) {
  AdamW job{};
  job.n_tensors = n_tensors;
  job.pointers = pointer<void* const>(pointers);
  job.sizes = pointer<const std::int64_t>(sizes);
  job.kinds = pointer<const std::int64_t>(kinds);
  job.groups_of = pointer<const std::int64_t>(groups_of);
  job.groups = pointer<const AdamWGroup>(groups);
  job.max_grad_norm = max_grad_norm;
  job.write_grads = write_grads;
  if (n_tensors < 0)
    throw py::value_error("n_tensors: expected at least 0, got " + std::to_string(n_tensors));
  for (std::int64_t t = 0; t < n_tensors; ++t)
    if (job.sizes[t] < 0 || job.kinds[t] < 0 || job.kinds[t] > 7 || job.groups_of[t] < 0 ||
        job.groups_of[t] >= n_groups)
      throw py::value_error(
          "tensor " + std::to_string(t) +
          ": expected a size of at least 0, a kind in [0, 8) and a group in [0, " +
          std::to_string(n_groups) + ")");
  std::vector<std::int64_t> starts(static_cast<std::size_t>(n_tensors) + 1);
  std::vector<AdamWCoefficients> coefficients(static_cast<std::size_t>(n_tensors));
  std::vector<double> square_sums(static_cast<std::size_t>(
      max_grad_norm > 0 ? adamw_chunks(job.sizes, n_tensors) : std::int64_t{0}));
  job.starts = starts.data();
  job.coefficients = coefficients.data();
  job.square_sums = square_sums.data();
  py::gil_scoped_release release;
  return GROUNDUP_CALL(adamw_step_cpu, job);
}

LayerNorm layer_norm_job(std::uintptr_t input, int dtype, std::int64_t n_rows,
                         std::int64_t n_columns, std::int64_t row_stride, std::uintptr_t weight,
                         std::uintptr_t statistics) {
  require_dtype(dtype);
  if (n_rows < 0 || n_columns < 1)
    throw py::value_error("expected n_rows >= 0 and n_columns >= 1, got " + std::to_string(n_rows) +
                          " and " + std::to_string(n_columns));
  LayerNorm job{};
  job.input = pointer<const void>(input);
  job.is_bfloat16 = dtype == 1;
  job.n_rows = n_rows;
  job.n_columns = n_columns;
  job.row_stride = row_stride;
  job.weight = pointer<const float>(weight);
  job.statistics = pointer<float>(statistics);
  return job;
}

void bind_layer_norm(py::module_& m) {
  using Address = std::uintptr_t;
  using Size = std::int64_t;
  m.def("layer_norm_forward_cpu", [](Address input, int dtype, Size n_rows, Size n_columns,
                                     Size row_stride, Address weight, Address bias, double eps,
                                     Address output, Address statistics, Address residual,
                                     Size residual_row_stride, Address sum) {
    LayerNorm job = layer_norm_job(input, dtype, n_rows, n_columns, row_stride, weight, statistics);
    job.bias = pointer<const float>(bias);
    job.eps = eps;
    job.output = pointer<void>(output);
    if ((residual == 0) != (sum == 0))
      throw py::value_error("residual and sum: expected both or neither");
    job.residual = pointer<const void>(residual);
    job.residual_row_stride = residual_row_stride;
    job.sum = pointer<void>(sum);
    py::gil_scoped_release release;
    advise_huge_pages(job.output, bytes_of(n_rows * n_columns, dtype));
    if (job.sum) advise_huge_pages(job.sum, bytes_of(n_rows * n_columns, dtype));
    GROUNDUP_CALL(layer_norm_forward_cpu, job);
  });
  m.def("layer_norm_backward_cpu",
        [](Address input, int dtype, Size n_rows, Size n_columns, Size row_stride, Address weight,
           Address statistics, Address doutput, Size doutput_row_stride, Address dinput,
           Address dweight, Address dbias, Address dsum, Size dsum_row_stride) {
          LayerNorm job =
              layer_norm_job(input, dtype, n_rows, n_columns, row_stride, weight, statistics);
          job.doutput = pointer<const void>(doutput);
          job.doutput_row_stride = doutput_row_stride;
          job.dsum = pointer<const void>(dsum);
          job.dsum_row_stride = dsum_row_stride;
          job.dinput = pointer<void>(dinput);
          job.dweight = pointer<float>(dweight);
          job.dbias = pointer<float>(dbias);
          py::gil_scoped_release release;
          if (job.dinput) advise_huge_pages(job.dinput, bytes_of(n_rows * n_columns, dtype));
          const bool with_sums = dweight != 0 || dbias != 0;
          const std::unique_ptr<float[]> sums(
              with_sums ? new float[static_cast<std::size_t>(
                              2 * layer_norm_blocks(n_rows, n_columns) * n_columns)]
                        : nullptr);
          job.sums = sums.get();
          GROUNDUP_CALL(layer_norm_backward_cpu, job);
        });
}

void bind_gelu(py::module_& m) {
  using Address = std::uintptr_t;
  const auto job_of = [](Address input, int dtype, bool is_tanh, std::int64_t n, Address output) {
    require_dtype(dtype);
    if (n < 0) throw py::value_error("n: expected at least 0, got " + std::to_string(n));
    Gelu job{};
    job.input = pointer<const void>(input);
    job.is_bfloat16 = dtype == 1;
    job.is_tanh = is_tanh;
    job.n = n;
    job.output = pointer<void>(output);
    return job;
  };
  m.def("gelu_forward_cpu",
        [job_of](Address input, int dtype, bool is_tanh, std::int64_t n, Address output) {
          const Gelu job = job_of(input, dtype, is_tanh, n, output);
          py::gil_scoped_release release;
          advise_huge_pages(job.output, bytes_of(n, dtype));
          GROUNDUP_CALL(gelu_forward_cpu, job);
        });
  m.def("gelu_backward_cpu", [job_of](Address input, int dtype, bool is_tanh, std::int64_t n,
                                      Address doutput, Address output) {
    Gelu job = job_of(input, dtype, is_tanh, n, output);
    job.doutput = pointer<const void>(doutput);
    py::gil_scoped_release release;
    advise_huge_pages(job.output, bytes_of(n, dtype));
    GROUNDUP_CALL(gelu_backward_cpu, job);
  });
}

}  // namespace
}  // namespace groundup

PYBIND11_MODULE(_C, m) {
  if (const char* complaint = groundup::choose_isa()) throw py::import_error(complaint);
  m.attr("__version__") = GROUNDUP_VERSION;
  groundup::watch_forks();
  groundup::bind_platform(m);
  groundup::bind_attention(m);
  groundup::bind_cross_entropy(m);
  groundup::bind_gelu(m);
  groundup::bind_layer_norm(m);
  groundup::bind_linear(m);
  m.def("adamw_step_cpu", &groundup::adamw_step);
  groundup::bind_adamw_tensors(m);
  groundup::bind_bpe(m);
}
