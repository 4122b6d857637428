#include "gemm_few_rows.h"

#include <ATen/Parallel.h>

#include <vector>

#include "simd.h"

namespace trainyard {
namespace {

struct Product {
  int64_t rows;
  int64_t depth;
  const float* a;  // [rows, depth], dense
  GemmOperand b;
  GemmOutput c;
};

TRAINYARD_INLINE void finish(const Product& p, int64_t row, int64_t column, Floats value, int64_t count) {
  if (p.c.bias != nullptr) value += load_part(p.c.bias + column, count);
  if (p.c.addend != nullptr) value += load_part(p.c.addend + row * p.c.addend_stride + column, count);
  store_part(p.c.data + row * p.c.stride + column, value, count);
}

// Chains of additions that run beside each other, so that none waits for its own last sum.
constexpr int64_t together = 4;

// `Width` columns that lie along k: an inner product each.
template <int Rows, int Width>
TRAINYARD_INLINE void inner_products(const Product& p, int64_t column) {
  Floats sums[Rows][Width] = {};
  for (int64_t k = 0; k < p.depth; k += lanes) {
    Floats left[Rows];
    for (int row = 0; row < Rows; ++row) left[row] = load_part(p.a + row * p.depth + k, p.depth - k);
    for (int i = 0; i < Width; ++i) {
      const Floats right = load_part(p.b.data + (column + i) * p.b.outer + k, p.depth - k);
      for (int row = 0; row < Rows; ++row) sums[row][i] += left[row] * right;
    }
  }
  for (int row = 0; row < Rows; ++row) {
    Floats values{};
    for (int i = 0; i < Width; ++i) values[i] = sum(sums[row][i]);
    finish(p, row, column, values, Width);
  }
}

// Up to `Width` vectors of columns that lie beside each other: their sums grow together.
template <int Rows, int Width>
TRAINYARD_INLINE void outer_products(const Product& p, int64_t column, int64_t count) {
  Floats sums[Rows][Width] = {};
  for (int64_t k = 0; k < p.depth; ++k) {
    for (int i = 0; i < Width; ++i) {
      const Floats right = load_part(p.b.data + k * p.b.inner + column + i * lanes, count - i * lanes);
      for (int row = 0; row < Rows; ++row) sums[row][i] += right * p.a[row * p.depth + k];
    }
  }
  for (int row = 0; row < Rows; ++row) {
    for (int i = 0; i < Width; ++i) finish(p, row, column + i * lanes, sums[row][i], count - i * lanes);
  }
}

template <int Rows>
TRAINYARD_INLINE void multiply(const Product& p, int64_t begin, int64_t end) {
  int64_t column = begin;
  if (p.b.inner == 1) {
    for (; column + together <= end; column += together) inner_products<Rows, together>(p, column);
    for (; column < end; ++column) inner_products<Rows, 1>(p, column);
  } else {
    for (; column + together * lanes <= end; column += together * lanes) {
      outer_products<Rows, together>(p, column, together * lanes);
    }
    for (; column < end; column += lanes) outer_products<Rows, 1>(p, column, std::min(lanes, end - column));
  }
}

TRAINYARD_CLONES void multiply_columns(const Product& p, int64_t begin, int64_t end) {
  switch (p.rows) {
    case 1:
      return multiply<1>(p, begin, end);
    case 2:
      return multiply<2>(p, begin, end);
    case 3:
      return multiply<3>(p, begin, end);
    default:
      return multiply<few_rows>(p, begin, end);
  }
}

}  // namespace

void gemm_few_rows(int64_t rows, int64_t columns, int64_t depth, GemmOperand a, GemmOperand b, GemmOutput c) {
  std::vector<float> dense(static_cast<size_t>(rows * depth));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t k = 0; k < depth; ++k) {
      dense[static_cast<size_t>(row * depth + k)] = a.data[row * a.outer + k * a.inner];
    }
  }
  const Product product{rows, depth, dense.data(), b, c};
  const int64_t vectors = (columns + lanes - 1) / lanes;
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 17) / (lanes * std::max<int64_t>(depth, 1)));
  at::parallel_for(0, vectors, grain, [&](int64_t begin, int64_t end) {
    multiply_columns(product, begin * lanes, std::min(columns, end * lanes));
  });
}

}  // namespace trainyard
