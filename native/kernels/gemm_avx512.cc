#include "gemm_kernel.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#endif

// GCC's own intrinsics read a value they call undefined.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include "gemm_tile.h"

namespace trainyard {
namespace {

struct Avx512 {
  static constexpr int width = 16;
  static constexpr int rows = 14;
  static constexpr int vectors = 2;

  static inline __m512 broadcast(const float* value) { return _mm512_set1_ps(*value); }

  // target[k * step + i] = source[i * stride + k] for 16 x 16 elements; rows from `valid` on read as zero.
  static inline void transpose(const float* source, int64_t stride, int64_t valid, float* target, int64_t step) {
    __m512 r[16];
    __m512 t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) r[i] = i < valid ? _mm512_loadu_ps(source + i * stride) : _mm512_setzero_ps();
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
      r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
      r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xEE);
      r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    // Now r[4 g + q] holds, in its 128-bit lane l, the elements k = 4 l + q of the rows 4 g .. 4 g + 3.
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const __m512 low01 = _mm512_shuffle_f32x4(r[q], r[4 + q], 0x44);
      const __m512 high01 = _mm512_shuffle_f32x4(r[q], r[4 + q], 0xEE);
      const __m512 low23 = _mm512_shuffle_f32x4(r[8 + q], r[12 + q], 0x44);
      const __m512 high23 = _mm512_shuffle_f32x4(r[8 + q], r[12 + q], 0xEE);
      t[q] = _mm512_shuffle_f32x4(low01, low23, 0x88);
      t[4 + q] = _mm512_shuffle_f32x4(low01, low23, 0xDD);
      t[8 + q] = _mm512_shuffle_f32x4(high01, high23, 0x88);
      t[12 + q] = _mm512_shuffle_f32x4(high01, high23, 0xDD);
    }
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) _mm512_storeu_ps(target + k * step, t[k]);
  }
};

void pack_rows(GemmOperand source, int64_t count, int64_t depth, float* packed) {
  pack_panels<Avx512, Avx512::rows>(source, count, depth, packed);
}

void pack_columns(GemmOperand source, int64_t count, int64_t depth, float* packed) {
  pack_panels<Avx512, Avx512::vectors * Avx512::width>(source, count, depth, packed);
}

void multiply(int64_t rows, int64_t columns, int64_t depth, const float* a, const float* b, GemmOutput c) {
  multiply_block<Avx512>(rows, columns, depth, a, b, c);
}

constexpr GemmKernel kernel{Avx512::rows, Avx512::vectors * Avx512::width, pack_rows, pack_columns, multiply};

}  // namespace
}  // namespace trainyard

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace trainyard {

const GemmKernel* gemm_kernel_avx512() {
  static const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return supported ? &kernel : nullptr;
}

}  // namespace trainyard

#else

namespace trainyard {
const GemmKernel* gemm_kernel_avx512() { return nullptr; }
}  // namespace trainyard

#endif
