#pragma once

namespace gloo::transport {

// c10d keeps one behind a unique_ptr in classes that only libtorch constructs and destroys.
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = default;
};

}  // namespace gloo::transport
