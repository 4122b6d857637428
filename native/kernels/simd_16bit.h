// Numbers of 16 bits, sixteen at a time, as fp32 and back: by integer arithmetic, which every processor does alike.
#pragma once

#include "simd.h"

namespace trainyard {

// What elements of flat memory are.
enum class Number : uint8_t { none, float32, bfloat16, float16 };

typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));
typedef uint16_t UnalignedHalves __attribute__((vector_size(32), aligned(2), may_alias));

TRAINYARD_INLINE Words choose(Integers condition, Words yes, Words no) { return condition ? yes : no; }

TRAINYARD_INLINE Floats from_bfloat16(Halves halves) {
  return reinterpret_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}

// To the nearest, ties to even; what is no number stays none.
TRAINYARD_INLINE Halves to_bfloat16(Floats value) {
  const Words bits = reinterpret_cast<Words>(value);
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return __builtin_convertvector(choose(value == value, rounded, Words{} + 0x7fc0), Halves);
}

// Moves the exponent to its place and corrects its bias; infinities and numbers below the smallest normal one need a
// correction of their own.
TRAINYARD_INLINE Floats from_float16(Halves halves) {
  const Words bits = __builtin_convertvector(halves, Words);
  const Words shifted = (bits & 0x7fff) << 13;
  const Words exponent = shifted & 0x0f800000;
  const Words normal = shifted + (112u << 23);
  const Words infinite = normal + (112u << 23);
  const Floats smallest = reinterpret_cast<Floats>(Words{} + (113u << 23));
  const Words subnormal = reinterpret_cast<Words>(reinterpret_cast<Floats>(normal + (1u << 23)) - smallest);
  const Words magnitude = choose(exponent == 0x0f800000, infinite, choose(exponent == 0, subnormal, normal));
  return reinterpret_cast<Floats>(magnitude | (bits & 0x8000) << 16);
}

// To the nearest, ties to even; too large becomes infinite, and what is no number stays none.
TRAINYARD_INLINE Halves to_float16(Floats value) {
  const Words bits = reinterpret_cast<Words>(value);
  const Words magnitude = bits & 0x7fffffff;
  const Words normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  // Adding a number whose last place is fp16's smallest rounds to a multiple of that.
  const Words magic = Words{} + (126u << 23);
  const Words subnormal =
      reinterpret_cast<Words>(reinterpret_cast<Floats>(magnitude) + reinterpret_cast<Floats>(magic)) - magic;
  const Words special = choose(magnitude > 0x7f800000, Words{} + 0x7e00, Words{} + 0x7c00);
  const Words result =
      choose(magnitude >= 0x47800000, special, choose(magnitude < 0x38800000, subnormal, normal));
  return __builtin_convertvector(result | (bits & 0x80000000) >> 16, Halves);
}

TRAINYARD_INLINE Halves load_halves(const uint16_t* source, int64_t count) {
  if (count >= lanes) return *reinterpret_cast<const UnalignedHalves*>(source);
  Halves value{};
  std::memcpy(&value, source, static_cast<size_t>(count) * sizeof(uint16_t));
  return value;
}

TRAINYARD_INLINE void store_halves(uint16_t* target, Halves value, int64_t count) {
  if (count >= lanes) {
    *reinterpret_cast<UnalignedHalves*>(target) = value;
  } else {
    std::memcpy(target, &value, static_cast<size_t>(count) * sizeof(uint16_t));
  }
}

// The first `count` lanes from the element `index` on; the others are zero.
TRAINYARD_INLINE Floats load_numbers(const void* source, Number kind, int64_t index, int64_t count) {
  if (kind == Number::float32) return load_part(static_cast<const float*>(source) + index, count);
  const Halves halves = load_halves(static_cast<const uint16_t*>(source) + index, count);
  return kind == Number::bfloat16 ? from_bfloat16(halves) : from_float16(halves);
}

// The first `count` lanes to the element `index` on; nothing, where there is no target.
TRAINYARD_INLINE void store_numbers(void* target, Number kind, int64_t index, Floats value, int64_t count) {
  if (kind == Number::none) return;
  if (kind == Number::float32) return store_part(static_cast<float*>(target) + index, value, count);
  const Halves halves = kind == Number::bfloat16 ? to_bfloat16(value) : to_float16(value);
  store_halves(static_cast<uint16_t*>(target) + index, halves, count);
}

}  // namespace trainyard
