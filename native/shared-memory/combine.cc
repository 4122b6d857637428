#include "shared-memory/combine.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <type_traits>

#include "kernels/simd.h"

namespace trainyard {
namespace {

// A piece of numbers that stays in the first-level cache while every source is added to it.
constexpr int64_t kPiece = 2048;

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

template <typename Number>
TRAINYARD_INLINE void write_piece(Number* target, const Accumulator<Number>* piece, int64_t count) {
  for (int64_t i = 0; i < count; ++i) target[i] = static_cast<Number>(piece[i]);
}

// Target clones do not work on templates: each kind of number has a function of its own below.
template <typename Number>
TRAINYARD_INLINE void combine_as(Reduction reduction, const std::vector<const void*>& sources,
                                 const std::vector<void*>& targets, int64_t begin, int64_t end) {
  alignas(64) Accumulator<Number> piece[kPiece];
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
    for (void* target : targets) write_piece<Number>(static_cast<Number*>(target) + first, piece, count);
  }
}

// Past this a target is written around the cache: nobody here reads it soon.
constexpr int64_t kStreamedElements = int64_t{1} << 18;

// So many vectors are added up at once, in registers.
constexpr int64_t kVectors = 4;
constexpr int64_t kStride = kVectors * lanes;

TRAINYARD_INLINE void write_around_cache(float* target, Floats value) {
#if defined(__x86_64__)
  typedef float Four __attribute__((vector_size(16), may_alias));
  Four parts[4];
  std::memcpy(parts, &value, sizeof value);
  for (int64_t i = 0; i < 4; ++i) __builtin_ia32_movntps(target + 4 * i, parts[i]);
#else
  store(target, value);
#endif
}

TRAINYARD_INLINE bool is_aligned(const std::vector<void*>& targets, int64_t begin) {
  return std::all_of(targets.begin(), targets.end(), [begin](const void* target) {
    return reinterpret_cast<uintptr_t>(static_cast<const float*>(target) + begin) % sizeof(Floats) == 0;
  });
}

// One stride of every source, reduced in registers and written to every target: memory is the limit here.
template <Reduction reduction, bool streamed>
TRAINYARD_INLINE void combine_stride(const void* const* sources, int64_t count_sources, void* const* targets,
                                     int64_t count_targets, int64_t first) {
  Floats value[kVectors];
  for (int64_t v = 0; v < kVectors; ++v) value[v] = load(static_cast<const float*>(sources[0]) + first + v * lanes);
  for (int64_t s = 1; s < count_sources; ++s) {
    const float* source = static_cast<const float*>(sources[s]) + first;
    for (int64_t v = 0; v < kVectors; ++v) {
      const Floats other = load(source + v * lanes);
      value[v] = value[v] + other;
    }
  }
  if constexpr (reduction == Reduction::mean) {
    for (Floats& each : value) each = each / splat(static_cast<float>(count_sources));
  }
  for (int64_t t = 0; t < count_targets; ++t) {
    float* target = static_cast<float*>(targets[t]) + first;
    for (int64_t v = 0; v < kVectors; ++v) {
      if constexpr (streamed) {
        write_around_cache(target + v * lanes, value[v]);
      } else {
        store(target + v * lanes, value[v]);
      }
    }
  }
}

using Sources = const std::vector<const void*>&;
using Targets = const std::vector<void*>&;

#define TRAINYARD_COMBINE(name, Number)                                                            \
  TRAINYARD_CLONES void name(Reduction reduction, Sources sources, Targets targets, int64_t begin, \
                             int64_t end) {                                                        \
    combine_as<Number>(reduction, sources, targets, begin, end);                                   \
  }
TRAINYARD_COMBINE(combine_few_floats, float)
TRAINYARD_COMBINE(combine_doubles, double)
TRAINYARD_COMBINE(combine_halves, c10::Half)
TRAINYARD_COMBINE(combine_brain_floats, c10::BFloat16)
TRAINYARD_COMBINE(combine_longs, int64_t)
TRAINYARD_COMBINE(combine_integers, int32_t)
#undef TRAINYARD_COMBINE

template <Reduction reduction>
TRAINYARD_INLINE void combine_strides(Sources sources, Targets targets, int64_t begin, int64_t end) {
  const auto count_sources = static_cast<int64_t>(sources.size());
  const auto count_targets = static_cast<int64_t>(targets.size());
  const void* const* from = sources.data();
  void* const* to = targets.data();
  if (end - begin < kStreamedElements || !is_aligned(targets, begin)) {
    for (int64_t first = begin; first < end; first += kStride) {
      combine_stride<reduction, false>(from, count_sources, to, count_targets, first);
    }
    return;
  }
  for (int64_t first = begin; first < end; first += kStride) {
    combine_stride<reduction, true>(from, count_sources, to, count_targets, first);
  }
#if defined(__x86_64__)
  // What was written around the cache is ordered by nothing else.
  __builtin_ia32_sfence();
#endif
}

#define TRAINYARD_COMBINE(name, reduction)                                                       \
  TRAINYARD_CLONES void name(Sources sources, Targets targets, int64_t begin, int64_t end) { \
    combine_strides<reduction>(sources, targets, begin, end);                                    \
  }
TRAINYARD_COMBINE(sum_of_floats, Reduction::sum)
TRAINYARD_COMBINE(mean_of_floats, Reduction::mean)
#undef TRAINYARD_COMBINE

void combine_floats(Reduction reduction, Sources sources, Targets targets, int64_t begin, int64_t end) {
  int64_t rest = begin;
  if (reduction != Reduction::max) {
    rest = begin + (end - begin) / kStride * kStride;
    (reduction == Reduction::sum ? sum_of_floats : mean_of_floats)(sources, targets, begin, rest);
  }
  combine_few_floats(reduction, sources, targets, rest, end);
}

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
