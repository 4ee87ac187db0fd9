// Attention's part of groundup._C: on tensors, on packed documents, and a decoder's step.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

#include "attention.h"
#include "parallel.h"

namespace py = pybind11;

namespace groundup {
namespace {

using Address = std::uintptr_t;
using Size = std::int64_t;
using Sizes = std::array<Size, 7>;
using Rows = std::vector<Size>;

template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

// Whole cache lines of floats that nobody has written yet.
class Space {
 public:
  explicit Space(Size n_floats)
      : floats_(static_cast<float*>(
            ::operator new(static_cast<std::size_t>(n_floats) * sizeof(float), kLine))) {}
  Space(const Space&) = delete;
  ~Space() { ::operator delete(floats_, kLine); }
  float* floats() const { return floats_; }

 private:
  static constexpr std::align_val_t kLine{64};
  float* floats_;
};

Strides strides_at(const Size* three) { return {three[0], three[1], three[2]}; }

// The arguments that all forms share. A wrong size or code would write outside the buffers; shapes
// and dtypes themselves are the ops' to check.
Attention attention_job(Address query, Address key, Address value, Address out, Address statistics,
                        int dtype, const Sizes& sizes, const Size* strides, Size left, double scale,
                        double softcap) {
  if (dtype != 0 && dtype != 1)
    throw py::value_error("dtype: expected 0 (float32) or 1 (bfloat16), got " +
                          std::to_string(dtype));
  for (const Size size : sizes)
    if (size < 0)
      throw py::value_error("sizes: expected none below 0, got " + std::to_string(size));
  Attention job{};
  job.is_bfloat16 = dtype == 1;
  job.n_batch = sizes[0], job.n_heads = sizes[1], job.n_key_heads = sizes[2];
  job.n_queries = sizes[3], job.n_keys = sizes[4];
  job.width = sizes[5], job.value_width = sizes[6];
  if (job.n_heads > 0 && (job.n_key_heads == 0 || job.n_heads % job.n_key_heads != 0))
    throw py::value_error(
        "sizes: expected the query heads to be a multiple of the key heads, got " +
        std::to_string(job.n_heads) + " and " + std::to_string(job.n_key_heads));
  job.query = pointer<const void>(query);
  job.key = pointer<const void>(key);
  job.value = pointer<const void>(value);
  job.out = pointer<void>(out);
  job.statistics = pointer<float>(statistics);
  job.query_strides = strides_at(strides);
  job.key_strides = strides_at(strides + 3);
  job.value_strides = strides_at(strides + 6);
  job.out_strides = strides_at(strides + 9);
  job.statistics_strides = {2 * job.n_heads * job.n_queries, 2 * job.n_queries, 2};
  job.left = left;
  job.scale = scale;
  job.softcap = softcap;
  job.n_threads = usable_threads();
  return job;
}

void set_dropout(Attention& job, double dropout_p, Size key_0, Size key_1) {
  job.dropout_p = dropout_p;
  job.dropout_key[0] = static_cast<std::uint64_t>(key_0);
  job.dropout_key[1] = static_cast<std::uint64_t>(key_1);
}

void set_gradients(Attention& job, Address dout, Address dquery, Address dkey, Address dvalue,
                   const Size* strides) {
  job.dout = pointer<const void>(dout);
  job.dquery = pointer<void>(dquery);
  job.dkey = pointer<void>(dkey);
  job.dvalue = pointer<void>(dvalue);
  job.dout_strides = strides_at(strides + 12);
  job.dquery_strides = strides_at(strides + 15);
  job.dkey_strides = strides_at(strides + 18);
  job.dvalue_strides = strides_at(strides + 21);
}

// The most rows that one document has. Rows outside the tensors would be read and written.
Size check_documents(const char* name, const Rows& starts, Size n_documents, Size n_rows) {
  if (static_cast<Size>(starts.size()) != n_documents + 1)
    throw py::value_error(std::string(name) + ": expected " + std::to_string(n_documents + 1) +
                          " rows for as many documents as sizes says, got " +
                          std::to_string(starts.size()));
  Size most = 0, before = 0;
  for (const Size start : starts) {
    if (start < before || start > n_rows)
      throw py::value_error(std::string(name) + ": expected rows that rise from 0 up to " +
                            std::to_string(n_rows) + " at most, got " + std::to_string(start) +
                            " after " + std::to_string(before));
    if (&start != starts.data()) most = std::max(most, start - before);
    before = start;
  }
  return most;
}

// Packed documents are entries of one batch.
void set_documents(Attention& job, const Rows& query_starts, const Rows& key_starts,
                   bool lower_right) {
  const Size n_queries = check_documents("query_starts", query_starts, job.n_batch, job.n_queries);
  const Size n_keys = check_documents("key_starts", key_starts, job.n_batch, job.n_keys);
  for (Strides* strides : {&job.query_strides, &job.key_strides, &job.value_strides,
                           &job.out_strides, &job.statistics_strides, &job.dout_strides,
                           &job.dquery_strides, &job.dkey_strides, &job.dvalue_strides})
    strides->batch = 0;
  job.query_begin = query_starts.data(), job.query_end = job.query_begin + 1;
  job.key_begin = key_starts.data(), job.key_end = job.key_begin + 1;
  job.n_queries = n_queries, job.n_keys = n_keys;
  job.lower_right = lower_right;
}

enum class Pass { forward, backward };

void run(Attention& job, Pass pass) {
  std::vector<Size> blocks_before(static_cast<std::size_t>(job.n_batch) + 1);
  attention_blocks_before(job, blocks_before.data());
  job.blocks_before = blocks_before.data();
  const Space space(pass == Pass::forward ? attention_forward_space(job)
                                          : attention_backward_space(job));
  job.space = space.floats();
  py::gil_scoped_release release;
  if (pass == Pass::forward)
    GROUNDUP_CALL(attention_forward_cpu, job);
  else
    GROUNDUP_CALL(attention_backward_cpu, job);
}

void bind_tensors(py::module_& m) {
  m.def("attention_forward_cpu",
        [](Address query, Address key, Address value, Address out, Address statistics, int dtype,
           const Sizes& sizes, const std::array<Size, 12>& strides, Size offset, Size left,
           double scale, double softcap, double dropout_p, Size dropout_key_0, Size dropout_key_1) {
          Attention job = attention_job(query, key, value, out, statistics, dtype, sizes,
                                        strides.data(), left, scale, softcap);
          job.offset = offset;
          set_dropout(job, dropout_p, dropout_key_0, dropout_key_1);
          run(job, Pass::forward);
        });
  m.def("attention_backward_cpu",
        [](Address query, Address key, Address value, Address out, Address statistics, Address dout,
           Address dquery, Address dkey, Address dvalue, int dtype, const Sizes& sizes,
           const std::array<Size, 24>& strides, Size offset, Size left, double scale,
           double softcap, double dropout_p, Size dropout_key_0, Size dropout_key_1) {
          Attention job = attention_job(query, key, value, out, statistics, dtype, sizes,
                                        strides.data(), left, scale, softcap);
          job.offset = offset;
          set_dropout(job, dropout_p, dropout_key_0, dropout_key_1);
          set_gradients(job, dout, dquery, dkey, dvalue, strides.data());
          run(job, Pass::backward);
        });
}

void bind_documents(py::module_& m) {
  m.def("attention_varlen_forward_cpu",
        [](Address query, Address key, Address value, Address out, Address statistics, int dtype,
           const Sizes& sizes, const std::array<Size, 12>& strides, const Rows& query_starts,
           const Rows& key_starts, bool lower_right, Size left, double scale, double softcap,
           double dropout_p, Size dropout_key_0, Size dropout_key_1) {
          Attention job = attention_job(query, key, value, out, statistics, dtype, sizes,
                                        strides.data(), left, scale, softcap);
          set_documents(job, query_starts, key_starts, lower_right);
          set_dropout(job, dropout_p, dropout_key_0, dropout_key_1);
          run(job, Pass::forward);
        });
  m.def("attention_varlen_backward_cpu",
        [](Address query, Address key, Address value, Address out, Address statistics, Address dout,
           Address dquery, Address dkey, Address dvalue, int dtype, const Sizes& sizes,
           const std::array<Size, 24>& strides, const Rows& query_starts, const Rows& key_starts,
           bool lower_right, Size left, double scale, double softcap, double dropout_p,
           Size dropout_key_0, Size dropout_key_1) {
          Attention job = attention_job(query, key, value, out, statistics, dtype, sizes,
                                        strides.data(), left, scale, softcap);
          set_gradients(job, dout, dquery, dkey, dvalue, strides.data());
          set_documents(job, query_starts, key_starts, lower_right);
          set_dropout(job, dropout_p, dropout_key_0, dropout_key_1);
          run(job, Pass::backward);
        });
}

void bind_decode(py::module_& m) {
  m.def("attention_decode_cpu",
        [](Address query, Address key, Address value, Address out, Address statistics, int dtype,
           const Sizes& sizes, const std::array<Size, 12>& strides, const Rows& key_begin,
           const Rows& key_end, Size offset, Size left, double scale, double softcap) {
          Attention job = attention_job(query, key, value, out, statistics, dtype, sizes,
                                        strides.data(), left, scale, softcap);
          job.offset = offset;
          if (!key_begin.empty() || !key_end.empty()) {
            Size most = 0;
            if (key_begin.size() != key_end.size() ||
                static_cast<Size>(key_begin.size()) != job.n_batch)
              throw py::value_error("key_begin and key_end: expected one number a batch entry");
            for (std::size_t b = 0; b < key_begin.size(); ++b) {
              if (key_begin[b] < 0 || key_begin[b] > key_end[b] || key_end[b] > job.n_keys)
                throw py::value_error("keys of entry " + std::to_string(b) +
                                      ": expected within [0, " + std::to_string(job.n_keys) +
                                      "), got [" + std::to_string(key_begin[b]) + ", " +
                                      std::to_string(key_end[b]) + ")");
              most = std::max(most, key_end[b] - key_begin[b]);
            }
            job.key_begin = key_begin.data(), job.key_end = key_end.data();
            job.n_keys = most;
            job.lower_right = true;
          }
          const Space space(attention_decode_space(job));
          job.space = space.floats();
          py::gil_scoped_release release;
          GROUNDUP_CALL(attention_decode_cpu, job);
        });
}

}  // namespace

void bind_attention(py::module_& m) {
  bind_tensors(m);
  bind_documents(m);
  bind_decode(m);
}

}  // namespace groundup
