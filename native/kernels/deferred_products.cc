#include "deferred_products.h"

#include <ATen/ATen.h>

#include <utility>

#include "autograd.h"
#include "checks.h"
#include "gemm_tensor.h"

namespace trainyard {
namespace {

constexpr Checks deferred_products_checks("gradient of a weight");

void multiply_into(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& x) {
  if (!on_cpu_in_float(dy) || gradient.scalar_type() != at::kFloat || !has_unit_stride(gradient)) {
    gradient.add_(at::mm(dy.t(), x));
    return;
  }
  // A gradient that lies the other way about is the other product, x^T dY.
  if (gradient.stride(1) != 1) return multiply_into(gradient.t(), x, dy);
  float* data = gradient.mutable_data_ptr<float>();
  const int64_t stride = gradient.stride(0);
  gemm(dy.size(1), x.size(1), x.size(0), operand(dy, 1), operand(x, 1), {data, stride, data, stride});
}

}  // namespace

void add_product(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& x) {
  auto* collector = static_cast<DeferredProducts*>(c10::ThreadLocalDebugInfo::get(CollectProducts::kind()));
  if (collector != nullptr) {
    collector->push(gradient, dy, x);
  } else {
    multiply_into(gradient, dy, x);
  }
}

void DeferredProducts::push(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& x) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Detached: a factor must not keep the graph that it comes from.
  products_.push_back({gradient, dy.detach(), x.detach()});
}

void DeferredProducts::add() {
  const at::NoGradGuard no_grad;
  std::vector<Product> products;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    products.swap(products_);
  }
  for (Product& each : products) {
    const Product product = std::exchange(each, {});
    // Backward has checked them; memory may have been released since.
    deferred_products_checks.memory("gradient", product.gradient);
    deferred_products_checks.memory("dy", product.dy);
    deferred_products_checks.memory("x", product.x);
    multiply_into(product.gradient, product.dy, product.x);
  }
}

void DeferredProducts::clear() {
  const std::lock_guard<std::mutex> lock(mutex_);
  products_.clear();
}

}  // namespace trainyard
