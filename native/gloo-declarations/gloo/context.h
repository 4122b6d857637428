#pragma once
// What c10d's ProcessGroupGloo.hpp names of Gloo, for wheels that carry that header without Gloo's own. The
// classes are only ever used by libtorch's code, behind pointers; nothing here may be constructed by us.

#include <chrono>

#include "gloo/transport/unbound_buffer.h"

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

}  // namespace gloo
