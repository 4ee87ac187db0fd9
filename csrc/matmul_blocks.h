// How a product is cut into blocks and what scratch they need: the same for every instruction set,
// since the scratch is allocated by those who do not know which one runs.
#pragma once

#include "matmul.h"

namespace groundup {
namespace {  // each object keeps its own copy: one compiled for AVX-512 is never the only one

constexpr int64_t kTileRows = 6;
constexpr int64_t kColumnUnit = 64;  // a whole number of tiles of every instruction set

// Sums over this many k are made in registers, then added up in C. A sliver of B of this depth and
// a task's rows of A stay in the second-level cache beside each other.
constexpr int64_t kDepth = 384;
constexpr int64_t kTaskRows = 128;
constexpr int64_t kLeastTaskRows = 24;
constexpr int64_t kPackedFloats = int64_t{1} << 20;  // for all threads: a part of the last cache
constexpr int64_t kCachedFloats = int64_t{1} << 22;  // a cache that the threads share holds these
constexpr int64_t kTasksPerThread = 4;               // of rows
constexpr int64_t kUnitsPerThread = 2;               // of columns
// Packed rows are stored eight at a time where six are meant, so the last step writes past its end.
constexpr int64_t kOverhang = 16;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t parts(int64_t whole, int64_t size) { return (whole + size - 1) / size; }
// Where part i of n of nearly one size begins.
static inline int64_t bound(int64_t whole, int64_t n, int64_t i) {
  return whole / n * i + whole % n * i / n;
}

// Two ways to divide the work. By columns: a thread packs a unit of B for itself and multiplies all
// rows with it; nobody waits for anybody, except for A, where that has to be packed first, for all.
// By rows: B is packed for all, a block at a time, and a thread takes rows with all its columns.
struct MatmulBlocks {
  bool packs_a, by_columns;
  int64_t depth;     // of k
  int64_t columns;   // of n, whose B is packed at a time: whole units
  int64_t n_depths;  // by rows: how many steps of k are packed together; C is read as rarely
  int64_t n_row_tasks, n_column_tasks;
  int64_t sliver_a, packed_a, packed_b;  // floats: of a tile's rows, a row task's, a block of B

  explicit MatmulBlocks(const Matmul& job) {
    packs_a = job.a.column_stride != 1 || job.a_sums;  // sums are taken from what is packed
    depth = larger(1, parts(job.k, larger(1, parts(job.k, kDepth))));
    const int64_t units = larger(1, parts(job.n, kColumnUnit));
    const int64_t threads = job.n_threads;
    // By columns A is read once for every unit: in place all of it, from a cache if it fits.
    by_columns = units >= kUnitsPerThread * threads && job.m <= kPackedFloats / depth &&
                 (packs_a ? job.m < job.n : job.m <= kCachedFloats / larger(1, job.k));
    n_depths = 1;
    if (by_columns) {
      columns = kColumnUnit;
      n_row_tasks = larger(1, parts(job.m, kTaskRows));
      n_column_tasks = units;
    } else {
      columns = parts(units, parts(units, kPackedFloats / depth / kColumnUnit)) * kColumnUnit;
      n_depths = larger(1, smaller(parts(job.k, depth), kPackedFloats / (columns * depth)));
      // Whole rounds for the threads, of rows alone if there are enough: then A is packed once.
      const int64_t wanted = kTasksPerThread * threads;
      n_row_tasks = parts(parts(job.m, kTaskRows), wanted) * wanted;
      n_row_tasks = larger(1, smaller(n_row_tasks, job.m / kLeastTaskRows));
      n_column_tasks = smaller(parts(wanted, n_row_tasks), columns / kColumnUnit);
    }
    sliver_a = kTileRows * depth + kOverhang;
    packed_a = (parts(parts(job.m, n_row_tasks), kTileRows) + 1) * sliver_a;
    packed_b = columns * depth * n_depths;
  }
  int64_t n_packed_a(int64_t n_threads) const {
    return !packs_a ? 0 : by_columns ? n_row_tasks : n_threads;
  }
  int64_t n_packed_b(int64_t n_threads) const { return by_columns ? n_threads : 1; }
};

}  // namespace
}  // namespace groundup
