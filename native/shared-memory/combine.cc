#include "shared-memory/combine.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <type_traits>

#include "kernels/simd.h"

namespace trainyard {
namespace {

// A piece that stays in the first-level cache while every source is added to it.
constexpr int64_t kPiece = 2048;

// Past this a target is written around the cache: nobody here reads it soon.
constexpr int64_t kStreamedBytes = int64_t{1} << 20;

template <typename Number>
using Accumulator =
    std::conditional_t<std::is_same_v<Number, c10::Half> || std::is_same_v<Number, c10::BFloat16>, float, Number>;

template <typename Number>
TRAINYARD_INLINE Accumulator<Number> widened(Number value) {
  return static_cast<Accumulator<Number>>(value);
}

template <typename Wide>
TRAINYARD_INLINE Wide larger(Wide a, Wide b) {
  // Not a number wins, as in at::maximum.
  return a > b || a != a ? a : b;
}

template <typename Number>
TRAINYARD_INLINE void add_piece(Accumulator<Number>* piece, const Number* source, int64_t count, Reduction reduction) {
  if (reduction == Reduction::max) {
    for (int64_t i = 0; i < count; ++i) piece[i] = larger(piece[i], widened(source[i]));
  } else {
    for (int64_t i = 0; i < count; ++i) piece[i] = piece[i] + widened(source[i]);
  }
}

TRAINYARD_INLINE void write_around_cache(float* target, const float* piece, int64_t count) {
#if defined(__x86_64__)
  for (int64_t i = 0; i < count; i += 4) {
    typedef float Four __attribute__((vector_size(16), may_alias));
    Four four;
    std::memcpy(&four, piece + i, sizeof four);
    __builtin_ia32_movntps(target + i, four);
  }
#else
  std::memcpy(target, piece, count * sizeof(float));
#endif
}

template <typename Number>
TRAINYARD_INLINE void write_piece(Number* target, const Accumulator<Number>* piece, int64_t count, bool streamed) {
  if constexpr (std::is_same_v<Number, float>) {
    if (streamed && count % 4 == 0 && reinterpret_cast<uintptr_t>(target) % 16 == 0) {
      return write_around_cache(target, piece, count);
    }
  }
  for (int64_t i = 0; i < count; ++i) target[i] = static_cast<Number>(piece[i]);
}

// Target clones do not work on templates: each kind of number has a function of its own below.
template <typename Number>
TRAINYARD_INLINE void combine_as(Reduction reduction, const std::vector<const void*>& sources,
                                 const std::vector<void*>& targets, int64_t begin, int64_t end) {
  alignas(64) Accumulator<Number> piece[kPiece];
  const bool streamed = (end - begin) * static_cast<int64_t>(sizeof(Number)) >= kStreamedBytes;
  const auto count_sources = static_cast<Accumulator<Number>>(static_cast<int>(sources.size()));
  for (int64_t first = begin; first < end; first += kPiece) {
    const int64_t count = std::min(kPiece, end - first);
    const auto* own = static_cast<const Number*>(sources[0]) + first;
    for (int64_t i = 0; i < count; ++i) piece[i] = widened(own[i]);
    for (size_t s = 1; s < sources.size(); ++s) {
      add_piece<Number>(piece, static_cast<const Number*>(sources[s]) + first, count, reduction);
    }
    if (reduction == Reduction::mean) {
      for (int64_t i = 0; i < count; ++i) piece[i] = piece[i] / count_sources;
    }
    for (void* target : targets) write_piece<Number>(static_cast<Number*>(target) + first, piece, count, streamed);
  }
}

using Sources = const std::vector<const void*>&;
using Targets = const std::vector<void*>&;

#define TRAINYARD_COMBINE(name, Number)                                                            \
  TRAINYARD_CLONES void name(Reduction reduction, Sources sources, Targets targets, int64_t begin, \
                             int64_t end) {                                                        \
    combine_as<Number>(reduction, sources, targets, begin, end);                                   \
  }
TRAINYARD_COMBINE(combine_floats, float)
TRAINYARD_COMBINE(combine_doubles, double)
TRAINYARD_COMBINE(combine_halves, c10::Half)
TRAINYARD_COMBINE(combine_brain_floats, c10::BFloat16)
TRAINYARD_COMBINE(combine_longs, int64_t)
TRAINYARD_COMBINE(combine_integers, int32_t)
#undef TRAINYARD_COMBINE

}  // namespace

bool can_combine(c10::ScalarType dtype) {
  switch (dtype) {
    case c10::kFloat:
    case c10::kDouble:
    case c10::kHalf:
    case c10::kBFloat16:
    case c10::kLong:
    case c10::kInt:
      return true;
    default:
      return false;
  }
}

void combine(c10::ScalarType dtype, Reduction reduction, const std::vector<const void*>& sources,
             const std::vector<void*>& targets, int64_t begin, int64_t end) {
  switch (dtype) {
    case c10::kFloat:
      return combine_floats(reduction, sources, targets, begin, end);
    case c10::kDouble:
      return combine_doubles(reduction, sources, targets, begin, end);
    case c10::kHalf:
      return combine_halves(reduction, sources, targets, begin, end);
    case c10::kBFloat16:
      return combine_brain_floats(reduction, sources, targets, begin, end);
    case c10::kLong:
      return combine_longs(reduction, sources, targets, begin, end);
    case c10::kInt:
      return combine_integers(reduction, sources, targets, begin, end);
    default:
      TORCH_CHECK(false, "ranks can't combine numbers of dtype ", c10::toString(dtype));
  }
}

}  // namespace trainyard
