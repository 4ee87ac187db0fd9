// A linear layer, forward and backward, as products of matrices. Sizes and strides as the op has
// them; what the products are is written here.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "gelu.h"
#include "isa.h"
#include "matmul.h"
#include "pages.h"
#include "parallel.h"

namespace py = pybind11;

namespace groundup {
namespace {

using Address = std::uintptr_t;
using Size = std::int64_t;

// What scratch is for. A block of each is kept when it is given back: fresh memory of a few
// megabytes costs a fault for every page, which is a tenth of a small product. Packed matrices
// never take more than that; a gradient may, and is kept only up to 12 MiB.
enum class For { packed, gradient };
constexpr std::size_t kMostKept = std::size_t{3} << 20;  // floats

// An atomic and no lock: a child forked while another thread holds a lock would wait for ever.
template <For kFor>
class Space {
 public:
  explicit Space(std::size_t n_floats) : block_(spare().exchange(nullptr)) {
    if (block_ && block_->n_floats >= n_floats) return;
    block_.reset();
    block_ = std::make_unique<Block>(n_floats);
  }
  ~Space() {
    if (kFor == For::packed || block_->n_floats <= kMostKept)
      block_.reset(spare().exchange(block_.release()));
  }
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;
  float* begin() const { return block_->begin; }

 private:
  static constexpr std::align_val_t kLine{64};
  struct Block {
    explicit Block(std::size_t n)
        : n_floats(n), begin(static_cast<float*>(::operator new(n * sizeof(float), kLine))) {}
    ~Block() { ::operator delete(begin, kLine); }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    std::size_t n_floats;
    float* begin;
  };
  static std::atomic<Block*>& spare() {
    static std::atomic<Block*> block{nullptr};
    return block;
  }
  std::unique_ptr<Block> block_;
};

// A region costs microseconds: each thread gets at least as much work.
int threads_for(const Matmul& job) {
  constexpr double kLeastWork = 1 << 18;  // multiplications
  const double work = static_cast<double>(job.m) * static_cast<double>(job.n) *
                      static_cast<double>(job.k) / kLeastWork;
  const int usable = usable_threads();
  return work < usable ? (work < 1 ? 1 : static_cast<int>(work)) : usable;
}

void run(Matmul job) {
  if (job.m == 0 || job.n == 0) return;
  job.n_threads = threads_for(job);
  const Space<For::packed> space(static_cast<std::size_t>(matmul_space(job)));
  job.space = space.begin();
  advise_huge_pages(job.c, static_cast<std::size_t>(job.m * job.n) * sizeof(float));
  GROUNDUP_CALL(matmul_cpu, job);
}

Matrix matrix(Address values, Size row_stride, Size column_stride) {
  return {reinterpret_cast<const float*>(values), row_stride, column_stride};
}

Matrix transposed(Matrix matrix) {
  std::swap(matrix.row_stride, matrix.column_stride);
  return matrix;
}

void check(Size n_rows, Size n_in, Size n_out, int activation) {
  if (n_rows < 0 || n_in < 0 || n_out < 0)
    throw py::value_error("expected sizes of at least 0, got n_rows " + std::to_string(n_rows) +
                          ", n_in " + std::to_string(n_in) + " and n_out " + std::to_string(n_out));
  if (activation < 0 || activation > 2)
    throw py::value_error("activation: expected 0 (none), 1 (gelu) or 2 (gelu_tanh), got " +
                          std::to_string(activation));
}

void linear_forward(Address input, Size input_row_stride, Size input_column_stride, Address weight,
                    Size weight_row_stride, Size weight_column_stride, Address bias, Size n_rows,
                    Size n_in, Size n_out, int activation, Address preactivation, Address output) {
  check(n_rows, n_in, n_out, activation);
  Matmul job{};
  job.m = n_rows, job.n = n_out, job.k = n_in;
  job.a = matrix(input, input_row_stride, input_column_stride);
  job.b = transposed(matrix(weight, weight_row_stride, weight_column_stride));
  job.c = reinterpret_cast<float*>(preactivation ? preactivation : output);
  job.c_row_stride = n_out;
  job.bias = reinterpret_cast<const float*>(bias);
  job.activation = static_cast<Activation>(activation);
  job.activated = reinterpret_cast<float*>(output);
  py::gil_scoped_release release;
  if (preactivation && preactivation != output)
    advise_huge_pages(job.activated, static_cast<std::size_t>(n_rows * n_out) * sizeof(float));
  run(job);
}

// dx = dy W, with W (n_out, n_in).
void input_gradient(Matrix dy, Matrix weight, Size n_rows, Size n_in, Size n_out, float* dinput) {
  Matmul job{};
  job.m = n_rows, job.n = n_in, job.k = n_out;
  job.a = dy;
  job.b = weight;
  job.c = dinput;
  job.c_row_stride = n_in;
  run(job);
}

// dW = dy^T x, (n_out, n_in) or transposed, and the sums of dy's columns.
void weight_gradient(Matrix dy, Matrix x, Size n_rows, Size n_in, Size n_out, float* dweight,
                     bool is_transposed, float* dbias) {
  Matmul job{};
  job.k = n_rows;
  job.c = dweight;
  if (is_transposed) {
    job.m = n_in, job.n = n_out;
    job.a = transposed(x), job.b = dy;
    job.b_sums = dbias;
  } else {
    job.m = n_out, job.n = n_in;
    job.a = transposed(dy), job.b = x;
    job.a_sums = dbias;
  }
  job.c_row_stride = job.n;
  run(job);
}

// `gradient` may be doutput itself.
void gelu_gradient(const void* doutput, Address preactivation, int activation, Size n,
                   float* gradient) {
  Gelu gelu{};
  gelu.input = reinterpret_cast<const void*>(preactivation);
  gelu.is_tanh = static_cast<Activation>(activation) == Activation::gelu_tanh;
  gelu.n = n;
  gelu.doutput = doutput;
  gelu.output = gradient;
  GROUNDUP_CALL(gelu_backward_cpu, gelu);
}

class Gradient : public Space<For::gradient> {
 public:
  explicit Gradient(Size n) : Space(static_cast<std::size_t>(n)) {
    advise_huge_pages(begin(), static_cast<std::size_t>(n) * sizeof(float));
  }
};

// The gradient of the preactivation is scratch where dpreactivation is 0.
void linear_backward(Address doutput, Size doutput_row_stride, Size doutput_column_stride,
                     Address input, Size input_row_stride, Size input_column_stride, Address weight,
                     Size weight_row_stride, Size weight_column_stride, Size n_rows, Size n_in,
                     Size n_out, int activation, Address preactivation, Address dpreactivation,
                     Address dinput, Address dweight, bool dweight_is_transposed, Address dbias) {
  check(n_rows, n_in, n_out, activation);
  if (activation != 0 && n_rows * n_out != 0 && !preactivation)
    throw py::value_error("activation: expected preactivation, got address 0");
  py::gil_scoped_release release;
  Matrix dy = matrix(doutput, doutput_row_stride, doutput_column_stride);
  std::optional<Gradient> scratch;
  if (activation != 0) {
    float* gradient = reinterpret_cast<float*>(dpreactivation);
    if (!gradient) gradient = scratch.emplace(n_rows * n_out).begin();
    gelu_gradient(dy.values, preactivation, activation, n_rows * n_out, gradient);
    dy = {gradient, n_out, 1};
  }
  if (dinput)
    input_gradient(dy, matrix(weight, weight_row_stride, weight_column_stride), n_rows, n_in, n_out,
                   reinterpret_cast<float*>(dinput));
  if (dweight)
    weight_gradient(dy, matrix(input, input_row_stride, input_column_stride), n_rows, n_in, n_out,
                    reinterpret_cast<float*>(dweight), dweight_is_transposed,
                    reinterpret_cast<float*>(dbias));
}

// Both layers of an MLP. What flows between them stays in one buffer, where it becomes the gradient
// of the preactivation. Strides are those of rows and columns, of doutput, input, weight_1 and
// weight_2; preactivation and activated have their rows side by side.
void mlp_backward(Address doutput, Address input, Address weight_1, Address weight_2,
                  const std::array<Size, 8>& strides, Size n_rows, Size n_in, Size n_hidden,
                  Size n_out, int activation, Address preactivation, Address activated,
                  Address dinput, Address dweight_1, bool dweight_1_is_transposed, Address dbias_1,
                  Address dweight_2, bool dweight_2_is_transposed, Address dbias_2) {
  check(n_rows, n_in, n_hidden, activation);
  check(n_rows, n_hidden, n_out, activation);
  if (activation == 0 || (n_rows * n_hidden != 0 && !(preactivation && activated)))
    throw py::value_error(
        "activation: expected 1 (gelu) or 2 (gelu_tanh), preactivation and activated, got "
        "activation " +
        std::to_string(activation) + " or address 0");
  py::gil_scoped_release release;
  const Matrix dy = matrix(doutput, strides[0], strides[1]);
  if (dweight_2)
    weight_gradient(dy, matrix(activated, n_hidden, 1), n_rows, n_hidden, n_out,
                    reinterpret_cast<float*>(dweight_2), dweight_2_is_transposed,
                    reinterpret_cast<float*>(dbias_2));
  if (!dinput && !dweight_1) return;
  const Gradient hidden(n_rows * n_hidden);
  input_gradient(dy, matrix(weight_2, strides[6], strides[7]), n_rows, n_hidden, n_out,
                 hidden.begin());
  gelu_gradient(hidden.begin(), preactivation, activation, n_rows * n_hidden, hidden.begin());
  const Matrix dhidden{hidden.begin(), n_hidden, 1};
  if (dinput)
    input_gradient(dhidden, matrix(weight_1, strides[4], strides[5]), n_rows, n_in, n_hidden,
                   reinterpret_cast<float*>(dinput));
  if (dweight_1)
    weight_gradient(dhidden, matrix(input, strides[2], strides[3]), n_rows, n_in, n_hidden,
                    reinterpret_cast<float*>(dweight_1), dweight_1_is_transposed,
                    reinterpret_cast<float*>(dbias_1));
}

}  // namespace

void bind_linear(py::module_& m) {
  m.def("linear_forward_cpu", &linear_forward);
  m.def("linear_backward_cpu", &linear_backward);
  m.def("mlp_backward_cpu", &mlp_backward);
}

}  // namespace groundup
