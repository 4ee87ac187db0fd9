// The table of contents of groundup._cuda. The only CUDA file that knows Python.
//
// Pointers are the device's and their lifetimes the caller's; work is enqueued on `stream`, a
// cudaStream_t as an integer, and not waited for. Importing this touches no driver.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "adamw.cuh"
#include "cross_entropy.cuh"

namespace py = pybind11;

namespace groundup {
namespace {

using Address = std::uintptr_t;
using Size = std::int64_t;

template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

void bind_platform(py::module_& m) {
  m.def("architectures", [] {
    std::vector<std::string> names;
    std::string rest = GROUNDUP_CUDA_ARCHITECTURES;
    for (std::size_t end; !rest.empty(); rest.erase(0, end + 1)) {
      end = std::min(rest.find(','), rest.size());
      names.push_back(rest.substr(0, end));
    }
    return names;
  });
  m.def("toolkit", [] { return CUDART_VERSION; });
  m.def("device_count", [] {
    int n = 0;
    check(cudaGetDeviceCount(&n), "counting the CUDA devices");
    return n;
  });
}

// The arguments that all forms of cross_entropy share. A wrong size or code would write outside the
// buffers, an address between elements stops the device; the rest is the ops' to check.
CrossEntropyCuda cross_entropy_job(Address logits, int dtype, Size n_rows, Size n_classes,
                                   Size row_stride, Address target, Address weight,
                                   Size ignore_index, int reduction, double label_smoothing,
                                   double lse_square_scale, double softcap) {
  if (dtype < 0 || dtype > 2)
    throw py::value_error("dtype: expected 0 (float32), 1 (bfloat16) or 2 (float16), got " +
                          std::to_string(dtype));
  if (reduction < 0 || reduction > 2)
    throw py::value_error("reduction: expected 0 (none), 1 (mean) or 2 (sum), got " +
                          std::to_string(reduction));
  if (n_rows < 0 || n_classes < 1 || n_classes > INT32_MAX - 65536)
    throw py::value_error("expected n_rows >= 0 and n_classes in [1, 2^31 - 65536], got " +
                          std::to_string(n_rows) + " and " + std::to_string(n_classes));
  if (logits % (dtype == 0 ? 4 : 2) != 0)
    throw py::value_error("logits: expected an address on a boundary of its elements");
  CrossEntropyCuda job{};
  job.logits = pointer<void>(logits);
  job.dtype = static_cast<Dtype>(dtype);
  job.n_rows = n_rows;
  job.n_classes = static_cast<int>(n_classes);
  job.row_stride = row_stride;
  job.target = pointer<const std::int64_t>(target);
  job.weight = pointer<const float>(weight);
  job.ignore_index = ignore_index;
  job.reduction = static_cast<Reduction>(reduction);
  job.label_smoothing = static_cast<float>(label_smoothing);
  job.lse_square_scale = static_cast<float>(lse_square_scale);
  job.softcap = static_cast<float>(softcap);
  job.vectors = true;
  return job;
}

void set_gradient(CrossEntropyCuda& job, Address dloss, Address dlogits, Size row_stride) {
  const Address element = job.dtype == Dtype::float32 ? 4 : 2;
  if (dlogits % element != 0)
    throw py::value_error("dlogits: expected an address on a boundary of its elements");
  job.dloss = pointer<const float>(dloss);
  job.dlogits = pointer<void>(dlogits);
  job.dlogits_row_stride = row_stride;
  const Size apart = (row_stride - job.row_stride) * static_cast<Size>(element);
  job.vectors = (dlogits - reinterpret_cast<Address>(job.logits)) % kVectorBytes == 0 &&
                apart % kVectorBytes == 0;
}

template <void (*kEnqueue)(const CrossEntropyCuda&, cudaStream_t)>
void cross_entropy_loss(int device, Address stream, Address logits, int dtype, Size n_rows,
                        Size n_classes, Size row_stride, Address target, Address weight,
                        Size ignore_index, int reduction, double label_smoothing,
                        double lse_square_scale, double softcap, Address loss, Address statistics,
                        Address scratch, Address flag) {
  CrossEntropyCuda job =
      cross_entropy_job(logits, dtype, n_rows, n_classes, row_stride, target, weight, ignore_index,
                        reduction, label_smoothing, lse_square_scale, softcap);
  job.loss = pointer<float>(loss);
  job.statistics = pointer<float>(statistics);
  job.partials = pointer<CrossEntropyTotals>(scratch);
  job.row_loss = pointer<double>(scratch + (1 + kMostPartials) * sizeof(CrossEntropyTotals));
  job.flag = pointer<CrossEntropyFlag>(flag);
  py::gil_scoped_release release;
  kEnqueue(job, stream_on(device, stream));
}

void bind_cross_entropy(py::module_& m) {
  m.def("cross_entropy_scratch", &cross_entropy_scratch);
  m.def("cross_entropy_forward_cuda", &cross_entropy_loss<cross_entropy_forward_cuda>);
  m.def("cross_entropy_inplace_cuda", &cross_entropy_loss<cross_entropy_inplace_cuda>);
  m.def("cross_entropy_backward_cuda",
        [](int device, Address stream, Address logits, int dtype, Size n_rows, Size n_classes,
           Size row_stride, Address target, Address weight, Size ignore_index, int reduction,
           double label_smoothing, double lse_square_scale, double softcap, Address statistics,
           Address dloss, Address dlogits, Size dlogits_row_stride) {
          CrossEntropyCuda job = cross_entropy_job(logits, dtype, n_rows, n_classes, row_stride,
                                                   target, weight, ignore_index, reduction,
                                                   label_smoothing, lse_square_scale, softcap);
          job.statistics = pointer<float>(statistics);
          set_gradient(job, dloss, dlogits, dlogits_row_stride);
          py::gil_scoped_release release;
          cross_entropy_backward_cuda(job, stream_on(device, stream));
        });
  m.def("cross_entropy_scale_cuda",
        [](int device, Address stream, Address dlogits, int dtype, Size n_rows, Size n_classes,
           Size row_stride, int reduction, Address dloss) {
          CrossEntropyCuda job = cross_entropy_job(dlogits, dtype, n_rows, n_classes, row_stride, 0,
                                                   0, 0, reduction, 0, 0, 0);
          set_gradient(job, dloss, dlogits, row_stride);
          py::gil_scoped_release release;
          cross_entropy_scale_cuda(job, stream_on(device, stream));
        });
}

// The tables are the host's memory, as are `pointers` and what follows, and the steps they name.
void bind_adamw(py::module_& m) {
  m.attr("adamw_tensor_bytes") = sizeof(AdamWTensor);
  m.def("adamw_chunks", [](Size n_tensors, Address sizes) {
    return adamw_cuda_chunks(pointer<const std::int64_t>(sizes), n_tensors);
  });
  m.def("adamw_chunk_table", [](Size n_tensors, Address sizes, Address chunks) {
    if (n_tensors < 0 || n_tensors > INT32_MAX)
      throw py::value_error("n_tensors: expected [0, 2^31), got " + std::to_string(n_tensors));
    adamw_cuda_chunk_table(pointer<const std::int64_t>(sizes), n_tensors,
                           pointer<AdamWChunk>(chunks));
  });
  m.def("adamw_tensor_table",
        [](Size n_tensors, Address pointers, Address sizes, Address kinds, Address groups_of,
           Size n_groups, Address groups, Address tensors) {
          AdamW job{};
          job.n_tensors = n_tensors;
          job.pointers = pointer<void* const>(pointers);
          job.sizes = pointer<const std::int64_t>(sizes);
          job.kinds = pointer<const std::int64_t>(kinds);
          job.groups_of = pointer<const std::int64_t>(groups_of);
          job.groups = pointer<const AdamWGroup>(groups);
          for (Size t = 0; t < n_tensors; ++t)
            if (job.sizes[t] < 0 || job.kinds[t] < 0 || job.kinds[t] >= kCudaKinds ||
                (job.kinds[t] & 3) == 3 || (job.kinds[t] >> kStateShift & 3) == 3 ||
                job.groups_of[t] < 0 || job.groups_of[t] >= n_groups)
              throw py::value_error("tensor " + std::to_string(t) +
                                    ": expected a size of at least 0, a kind of dtypes 0 to 2 and "
                                    "a group in [0, " +
                                    std::to_string(n_groups) + ")");
          adamw_cuda_tensor_table(job, pointer<AdamWTensor>(tensors));
        });
  m.def("adamw_step_cuda",
        [](int device, Address stream, Address tensors, Address chunks, Size n_chunks,
           double max_grad_norm, bool write_grads, Address square_sums, Address norm) {
          AdamWCuda job{};
          job.tensors = pointer<const AdamWTensor>(tensors);
          job.chunks = pointer<const AdamWChunk>(chunks);
          job.n_chunks = n_chunks;
          job.max_grad_norm = max_grad_norm;
          job.write_grads = write_grads;
          job.square_sums = pointer<double>(square_sums);
          job.norm = pointer<float>(norm);
          py::gil_scoped_release release;
          adamw_step_cuda(job, stream_on(device, stream));
        });
}

}  // namespace
}  // namespace groundup

PYBIND11_MODULE(_cuda, m) {
  m.attr("__version__") = GROUNDUP_VERSION;
  groundup::bind_platform(m);
  groundup::bind_adamw(m);
  groundup::bind_cross_entropy(m);
}
