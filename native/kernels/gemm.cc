#include "gemm.h"

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <memory>
#include <new>

#include "gemm_few_rows.h"
#include "gemm_kernel.h"

namespace trainyard {
namespace {

// Block sizes in elements: a panel of columns (depth x 32) fits the first cache, a block of packed rows the second,
// all packed columns together the third.
constexpr int64_t block_depth = 256;
constexpr int64_t block_rows = 336;
constexpr int64_t packed_columns_limit = int64_t{1} << 21;
// A transposed block stores past the end of its panel, by less than this.
constexpr int64_t slack = 64;

constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

GemmOperand from(GemmOperand operand, int64_t outer, int64_t inner) {
  return {operand.data + outer * operand.outer + inner * operand.inner, operand.outer, operand.inner};
}

// Sums over k beyond the first block add to what the first one wrote.
GemmOutput part(const GemmOutput& c, int64_t row, int64_t column, bool first) {
  float* data = c.data + row * c.stride + column;
  if (!first) return {data, c.stride, data, c.stride, nullptr};
  return {data, c.stride, c.addend == nullptr ? nullptr : c.addend + row * c.addend_stride + column, c.addend_stride,
          c.bias == nullptr ? nullptr : c.bias + column};
}

// Memory of one thread for its packed operands, kept between calls.
float* scratch(int64_t elements, int which) {
  struct Buffer {
    std::unique_ptr<float[], void (*)(float*)> data{nullptr, [](float* p) { std::free(p); }};
    int64_t size = 0;
  };
  thread_local Buffer buffers[2];
  Buffer& buffer = buffers[which];
  if (buffer.size < elements) {
    buffer.size = 0;
    buffer.data.reset(static_cast<float*>(std::aligned_alloc(64, round_up(elements * sizeof(float), 64))));
    if (buffer.data == nullptr) throw std::bad_alloc();
    buffer.size = elements;
  }
  return buffer.data.get();
}

// Packed columns lie as [block of depth][panel][k][column of the panel]. Packs the panels [begin, end).
void pack_some_columns(const GemmKernel& isa, int64_t begin, int64_t end, int64_t columns, int64_t depth, GemmOperand b,
                       float* packed) {
  const int64_t padded = round_up(columns, isa.tile_columns);
  const int64_t first = begin * isa.tile_columns;
  const int64_t last = std::min(columns, end * isa.tile_columns);
  for (int64_t k = 0; k < depth; k += block_depth) {
    const int64_t deep = std::min(block_depth, depth - k);
    isa.pack_columns(from(b, first, k), last - first, deep, packed + k * padded + first * deep);
  }
}

void multiply_rows(const GemmKernel& isa, int64_t begin, int64_t end, int64_t columns, int64_t depth, GemmOperand a,
                   const float* packed, const GemmOutput& c) {
  const int64_t padded = round_up(columns, isa.tile_columns);
  float* rows = scratch((round_up(block_rows, isa.tile_rows)) * block_depth + slack, 0);
  const int64_t blocks = (end - begin + block_rows - 1) / block_rows;
  const int64_t step = round_up((end - begin + blocks - 1) / std::max<int64_t>(blocks, 1), isa.tile_rows);
  for (int64_t row = begin; row < end; row += step) {
    const int64_t high = std::min(step, end - row);
    for (int64_t k = 0; k < depth; k += block_depth) {
      const int64_t deep = std::min(block_depth, depth - k);
      isa.pack_rows(from(a, row, k), high, deep, rows);
      isa.multiply(high, columns, deep, rows, packed + k * padded, part(c, row, 0, k == 0));
    }
  }
}

void multiply_with_aten(int64_t rows, int64_t columns, int64_t depth, GemmOperand a, GemmOperand b,
                        const GemmOutput& c) {
  const auto options = at::TensorOptions().dtype(at::kFloat);
  const auto view = [&](const float* data, int64_t n, int64_t m, int64_t outer, int64_t inner) {
    return at::from_blob(const_cast<float*>(data), {n, m}, {outer, inner}, options);
  };
  const at::Tensor product = at::mm(view(a.data, rows, depth, a.outer, a.inner), view(b.data, depth, columns, b.inner, b.outer));
  at::Tensor target = view(c.data, rows, columns, c.stride, 1);
  if (c.bias != nullptr) product.add_(view(c.bias, 1, columns, 0, 1));
  if (c.addend != nullptr) {
    at::add_out(target, product, view(c.addend, rows, columns, c.addend_stride, 1));
  } else {
    target.copy_(product);
  }
}

}  // namespace

const GemmKernel* gemm_kernel() {
  static const GemmKernel* const chosen = gemm_kernel_avx512() != nullptr ? gemm_kernel_avx512() : gemm_kernel_avx2();
  return chosen;
}

void gemm(int64_t rows, int64_t columns, int64_t depth, GemmOperand a, GemmOperand b, GemmOutput c) {
  // Copying the columns into panels pays from some rows on.
  if (rows <= few_rows && depth > 0) return gemm_few_rows(rows, columns, depth, a, b, c);
  if (gemm_kernel() == nullptr || depth == 0) return multiply_with_aten(rows, columns, depth, a, b, c);
  const GemmKernel& isa = *gemm_kernel();
  const int64_t width = isa.tile_columns;
  const int64_t stripe = std::max(width, std::min(round_up(columns, width), packed_columns_limit / depth / width * width));
  const at::Tensor memory = at::empty({stripe * depth + slack + 16}, at::TensorOptions().dtype(at::kFloat));
  float* packed = reinterpret_cast<float*>(round_up(reinterpret_cast<int64_t>(memory.mutable_data_ptr<float>()), 64));
  const int64_t tiles = round_up(rows, isa.tile_rows) / isa.tile_rows;
  for (int64_t column = 0; column < columns; column += stripe) {
    const int64_t wide = std::min(stripe, columns - column);
    const GemmOperand right = from(b, column, 0);
    at::parallel_for(0, round_up(wide, width) / width, 1, [&](int64_t begin, int64_t end) {
      pack_some_columns(isa, begin, end, wide, depth, right, packed);
    });
    at::parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) {
      multiply_rows(isa, begin * isa.tile_rows, std::min(rows, end * isa.tile_rows), wide, depth, a, packed,
                    part(c, 0, column, true));
    });
  }
}

}  // namespace trainyard
