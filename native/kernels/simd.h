// Sixteen floats at a time, for every processor: loops over `Floats` inside a function marked TRAINYARD_CLONES are
// compiled for AVX-512, AVX2 and the baseline, and the loader picks. Helpers are inlined into each clone.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

// Vectors never cross a real call, so how they would be passed is of no concern.
#pragma GCC diagnostic ignored "-Wpsabi"

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && !defined(__clang__)
#define TRAINYARD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TRAINYARD_CLONES
#endif

#define TRAINYARD_INLINE inline __attribute__((always_inline))

namespace trainyard {

constexpr int64_t lanes = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Integers __attribute__((vector_size(64)));
typedef float UnalignedFloats __attribute__((vector_size(64), aligned(4), may_alias));

TRAINYARD_INLINE Floats splat(float value) { return Floats{} + value; }

TRAINYARD_INLINE Floats load(const float* source) { return *reinterpret_cast<const UnalignedFloats*>(source); }

TRAINYARD_INLINE void store(float* target, Floats value) { *reinterpret_cast<UnalignedFloats*>(target) = value; }

// The first `count` lanes; the others are zero.
TRAINYARD_INLINE Floats load_part(const float* source, int64_t count) {
  if (count >= lanes) return load(source);
  Floats value{};
  std::memcpy(&value, source, static_cast<size_t>(count) * sizeof(float));
  return value;
}

TRAINYARD_INLINE void store_part(float* target, Floats value, int64_t count) {
  if (count >= lanes) return store(target, value);
  std::memcpy(target, &value, static_cast<size_t>(count) * sizeof(float));
}

TRAINYARD_INLINE float sum(Floats value) {
  float lane[lanes];
  std::memcpy(lane, &value, sizeof lane);
  for (int64_t step = lanes / 2; step > 0; step /= 2) {
    for (int64_t i = 0; i < step; ++i) lane[i] += lane[i + step];
  }
  return lane[0];
}

TRAINYARD_INLINE Floats choose(Integers condition, Floats yes, Floats no) {
  return condition ? yes : no;
}

TRAINYARD_INLINE Floats maximum(Floats a, Floats b) { return choose(a > b, a, b); }

TRAINYARD_INLINE Floats square_root(Floats value) {
  Floats result;
  for (int64_t i = 0; i < lanes; ++i) result[i] = __builtin_sqrtf(value[i]);
  return result;
}

// e^x to about 1 unit in the last place; 0 below the smallest normal number, and infinity above the largest.
// x = n ln 2 + r with |r| <= ln 2 / 2, then Taylor's polynomial in r, whose remainder is below 2^-27.
TRAINYARD_INLINE Floats exponential(Floats x) {
  const Floats smallest = splat(-87.336544F);
  const Floats largest = splat(88.722839F);
  const Integers underflow = x < smallest;
  const Integers overflow = x > largest;
  const Floats bounded = choose(underflow, smallest, choose(overflow, largest, x));
  // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
  const Floats magic = splat(12582912.0F);
  const Floats shifted = bounded * splat(1.44269504F) + magic;
  const Floats n = shifted - magic;
  const Floats r = (bounded - n * splat(0.693359375F)) + n * splat(2.12194440e-4F);
  Floats p = splat(1.0F / 5040.0F);
  p = p * r + splat(1.0F / 720.0F);
  p = p * r + splat(1.0F / 120.0F);
  p = p * r + splat(1.0F / 24.0F);
  p = p * r + splat(1.0F / 6.0F);
  p = p * r + splat(0.5F);
  p = p * r + splat(1.0F);
  p = p * r + splat(1.0F);
  // 2^n in two factors: n = 128 alone has no exponent of its own.
  const Integers exponent = reinterpret_cast<Integers>(shifted) - reinterpret_cast<Integers>(magic);
  const Integers half = exponent >> 1;
  const Floats first = reinterpret_cast<Floats>((half + 127) << 23);
  const Floats second = reinterpret_cast<Floats>((exponent - half + 127) << 23);
  const Floats result = p * first * second;
  return choose(underflow, Floats{}, choose(overflow, splat(INFINITY), result));
}

TRAINYARD_INLINE Floats sigmoid(Floats x) { return splat(1.0F) / (splat(1.0F) + exponential(-x)); }

}  // namespace trainyard
