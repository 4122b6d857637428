#include "gemm_kernel.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

// GCC's own intrinsics read a value they call undefined.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include "gemm_tile.h"

namespace trainyard {
namespace {

struct Avx2 {
  static constexpr int width = 8;
  static constexpr int rows = 6;
  static constexpr int vectors = 2;

  static inline __m256 broadcast(const float* value) { return _mm256_set1_ps(*value); }

  // target[k * step + i] = source[i * stride + k] for 8 x 8 elements; rows from `valid` on read as zero.
  static inline void transpose(const float* source, int64_t stride, int64_t valid, float* target, int64_t step) {
    __m256 r[8];
    __m256 t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) r[i] = i < valid ? _mm256_loadu_ps(source + i * stride) : _mm256_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
      r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
      r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      t[q] = _mm256_permute2f128_ps(r[q], r[4 + q], 0x20);
      t[4 + q] = _mm256_permute2f128_ps(r[q], r[4 + q], 0x31);
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) _mm256_storeu_ps(target + k * step, t[k]);
  }
};

void pack_rows(GemmOperand source, int64_t count, int64_t depth, float* packed) {
  pack_panels<Avx2, Avx2::rows>(source, count, depth, packed);
}

void pack_columns(GemmOperand source, int64_t count, int64_t depth, float* packed) {
  pack_panels<Avx2, Avx2::vectors * Avx2::width>(source, count, depth, packed);
}

void multiply(int64_t rows, int64_t columns, int64_t depth, const float* a, const float* b, GemmOutput c) {
  multiply_block<Avx2>(rows, columns, depth, a, b, c);
}

constexpr GemmKernel kernel{Avx2::rows, Avx2::vectors * Avx2::width, pack_rows, pack_columns, multiply};

}  // namespace
}  // namespace trainyard

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace trainyard {

const GemmKernel* gemm_kernel_avx2() {
  static const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return supported ? &kernel : nullptr;
}

}  // namespace trainyard

#else

namespace trainyard {
const GemmKernel* gemm_kernel_avx2() { return nullptr; }
}  // namespace trainyard

#endif
