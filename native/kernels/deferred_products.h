// The gradients of weight matrices: products of what a layer was given and of the gradient of what it gave. They are
// added where they live as soon as they come up, or kept as their factors until somebody asks for them, which need not
// be while other layers wait for this one's input gradient (the backward for weights of Qi et al., arXiv 2401.10241).
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <memory>
#include <mutex>
#include <vector>

namespace trainyard {

// gradient += dy^T x, now, or later where somebody collects products. gradient [outputs, inputs], dy [n, outputs],
// x [n, inputs], with any strides.
void add_product(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& x);

class DeferredProducts final : public c10::DebugInfoBase {
 public:
  void push(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& x);
  // Adds the products in the order in which they came up, and lets go of the factors of each.
  void add();
  // Lets go of all factors.
  void clear();

 private:
  struct Product {
    at::Tensor gradient;
    at::Tensor dy;
    at::Tensor x;
  };

  // Backward runs on a thread per device.
  std::mutex mutex_;
  std::vector<Product> products_;
};

// While it lives, backwards that this thread starts leave their products there. libtorch hands thread-local debug
// information on to all threads of a backward, and it alone; the slot is one that training has no other use for.
class CollectProducts {
 public:
  explicit CollectProducts(std::shared_ptr<DeferredProducts> products) : guard_(kind(), std::move(products)) {}

  static c10::DebugInfoKind kind() { return c10::DebugInfoKind::INFERENCE_CONTEXT; }

 private:
  c10::DebugInfoGuard guard_;
};

}  // namespace trainyard
