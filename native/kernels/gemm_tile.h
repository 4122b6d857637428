// The inner part of the matrix product, written once over a vector width; gemm_avx512.cc and gemm_avx2.cc include it
// where their instruction set is switched on. After Goto and van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication" (2008): panels of both operands are copied into the order in which the innermost tile reads them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "gemm_kernel.h"

namespace trainyard {

template <int Width>
struct GemmVector {
  typedef float type __attribute__((vector_size(Width * sizeof(float)), aligned(4), may_alias));
};

template <class Isa, int Panel>
inline void pack_panel(GemmOperand source, int64_t count, int64_t depth, float* panel) {
  int64_t done = 0;
  if (source.inner == 1) {
    // Blocks of Width x Width are turned in registers. Each stores Width lanes, of which those beyond the panel are
    // overwritten by the next k; the panel's memory has room for the last.
    for (; done + Isa::width <= depth; done += Isa::width) {
      for (int64_t first = 0; first < Panel; first += Isa::width) {
        const int64_t valid = std::clamp<int64_t>(count - first, 0, std::min<int64_t>(Isa::width, Panel - first));
        Isa::transpose(source.data + first * source.outer + done, source.outer, valid, panel + done * Panel + first,
                       Panel);
      }
    }
  }
  for (int64_t k = done; k < depth; ++k) {
    for (int64_t i = 0; i < Panel; ++i) {
      panel[k * Panel + i] = i < count ? source.data[i * source.outer + k * source.inner] : 0.0F;
    }
  }
}

// Elements of a row that are copied together when the source has the panels' order already: long runs read fast.
constexpr int64_t longest_run = 168;

// Copies outer elements [0, count) into panels one after another. Panel order: for each k, `Panel` consecutive outer
// elements, zero where the source has ended.
template <class Isa, int Panel>
inline void pack_panels(GemmOperand source, int64_t count, int64_t depth, float* packed) {
  int64_t start = 0;
  while (source.outer == 1 && start + Panel <= count) {
    const int64_t panels = std::min(longest_run / Panel, (count - start) / Panel);
    for (int64_t k = 0; k < depth; ++k) {
      const float* from = source.data + start + k * source.inner;
      for (int64_t i = 0; i < panels * Panel; i += 16) __builtin_prefetch(from + 8 * source.inner + i);
      for (int64_t panel = 0; panel < panels; ++panel) {
        std::memcpy(packed + (start + panel * Panel) * depth + k * Panel, from + panel * Panel, Panel * sizeof(float));
      }
    }
    start += panels * Panel;
  }
  for (; start < count; start += Panel) {
    pack_panel<Isa, Panel>({source.data + start * source.outer, source.outer, source.inner},
                           std::min<int64_t>(Panel, count - start), depth, packed + start * depth);
  }
}

// One tile of Rows x (Vectors * width), its sums held in registers.
template <class Isa>
inline void multiply_tile(int64_t depth, const float* a, const float* b, int64_t valid_rows,
                                    int64_t valid_columns, GemmOutput c) {
  using Vector = typename GemmVector<Isa::width>::type;
  constexpr int rows = Isa::rows;
  constexpr int vectors = Isa::vectors;
  constexpr int columns = vectors * Isa::width;
  Vector sum[rows][vectors];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) sum[i][j] = Vector{};
  }
  // The lines that the sums go to travel here while they are being made.
  for (int64_t i = 0; i < valid_rows; ++i) {
    for (int64_t column = 0; column < valid_columns; column += 16) {
      __builtin_prefetch(c.data + i * c.stride + column, 1);
      if (c.addend != nullptr) __builtin_prefetch(c.addend + i * c.addend_stride + column, 0);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vector right[vectors];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) right[j] = *reinterpret_cast<const Vector*>(b + j * Isa::width);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const Vector left = Isa::broadcast(a + i);
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) sum[i][j] += left * right[j];
    }
    a += rows;
    b += columns;
  }
  if (valid_rows == rows && valid_columns == columns) {
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) {
        Vector value = sum[i][j];
        const int64_t column = j * Isa::width;
        if (c.bias != nullptr) value += *reinterpret_cast<const Vector*>(c.bias + column);
        if (c.addend != nullptr) value += *reinterpret_cast<const Vector*>(c.addend + i * c.addend_stride + column);
        *reinterpret_cast<Vector*>(c.data + i * c.stride + column) = value;
      }
    }
    return;
  }
  float edge[rows][columns];
  std::memcpy(edge, sum, sizeof edge);
  for (int64_t i = 0; i < valid_rows; ++i) {
    for (int64_t j = 0; j < valid_columns; ++j) {
      float value = edge[i][j];
      if (c.bias != nullptr) value += c.bias[j];
      if (c.addend != nullptr) value += c.addend[i * c.addend_stride + j];
      c.data[i * c.stride + j] = value;
    }
  }
}

// A panel of columns stays in the first cache while the rows pass by.
template <class Isa>
inline void multiply_block(int64_t rows, int64_t columns, int64_t depth, const float* a, const float* b,
                                     GemmOutput c) {
  constexpr int64_t tile_columns = Isa::vectors * Isa::width;
  for (int64_t column = 0; column < columns; column += tile_columns) {
    for (int64_t row = 0; row < rows; row += Isa::rows) {
      GemmOutput tile{c.data + row * c.stride + column, c.stride, nullptr, c.addend_stride, nullptr};
      if (c.addend != nullptr) tile.addend = c.addend + row * c.addend_stride + column;
      if (c.bias != nullptr) tile.bias = c.bias + column;
      multiply_tile<Isa>(depth, a + row * depth, b + column * depth, std::min<int64_t>(Isa::rows, rows - row),
                         std::min(tile_columns, columns - column), tile);
    }
  }
}

}  // namespace trainyard
