#pragma once
// The arithmetic of collectives: one pass over the memory of all ranks.

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

namespace trainyard {

enum class Reduction : int32_t { sum = 0, mean = 1, max = 2 };

// targets[t][i] = the reduction over s of sources[s][i], taken in the order of sources, for i in [begin, end). 16-bit
// numbers are added up in fp32 and rounded once. A source may be a target as well.
void combine(c10::ScalarType dtype, Reduction reduction, const std::vector<const void*>& sources,
             const std::vector<void*>& targets, int64_t begin, int64_t end);

// Whether `combine` knows numbers of this kind.
bool can_combine(c10::ScalarType dtype);

}  // namespace trainyard
