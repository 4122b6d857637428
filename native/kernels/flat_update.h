// What the optimizers share: updates in place over flat memory in one or many pieces, in one pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <vector>

#include "checks.h"
#include "simd_16bit.h"

namespace trainyard {

// One piece: fp32 parameters and states, gradients of any kind, and a place for a copy of the new parameters.
struct Piece {
  int64_t elements;
  float* parameters;
  const void* gradients;
  float* states[2];
  void* copy;
};

// The pieces of an update. All gradients are numbers of one kind, and all copies.
class FlatPieces {
 public:
  // `states` by their names; `copies` may be empty. Refuses memory that is not flat, or unlike the parameters'.
  FlatPieces(const Checks& checks, at::TensorList parameters, at::TensorList gradients,
             std::initializer_list<std::pair<const char*, at::TensorList>> states, at::TensorList copies);

  // Whether the fused pass applies: fp32 on the CPU. Else the update is libtorch's, tensor by tensor.
  bool is_fused() const { return fused_; }
  Number gradients() const { return gradients_; }
  Number copies() const { return copies_; }

  // Runs `body(piece, begin, end)` over all elements, on all threads. Ranges begin at multiples of the vector width, so
  // that no element's vector depends on how many threads there are.
  void each(const std::function<void(const Piece&, int64_t, int64_t)>& body) const;

 private:
  bool fused_ = true;
  Number gradients_ = Number::float32;
  Number copies_ = Number::none;
  std::vector<Piece> pieces_;
  // Where the vectors of each piece begin, all pieces behind one another, and where the last ends.
  std::vector<int64_t> starts_;
};

// Where an update is libtorch's: the new parameters into the copies.
void copy_parameters(at::TensorList parameters, at::TensorList copies);

// The gradients of one piece in fp32, times the factor.
at::Tensor scaled_gradients(const at::Tensor& gradients, const at::Tensor& parameters, double scale);

// Asks for what comes a kilobyte later: the processor's own prefetcher follows fewer streams than an update has.
TRAINYARD_INLINE void prefetch_after(const Piece& piece, int64_t index, Number gradients) {
  constexpr int64_t ahead = 256;
  const int64_t next = index + ahead;
  __builtin_prefetch(piece.parameters + next);
  __builtin_prefetch(static_cast<const char*>(piece.gradients) + next * (gradients == Number::float32 ? 4 : 2));
  for (const float* state : piece.states) {
    if (state != nullptr) __builtin_prefetch(state + next);
  }
}

}  // namespace trainyard
