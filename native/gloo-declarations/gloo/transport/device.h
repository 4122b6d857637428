#pragma once

namespace gloo::transport {

// A network interface; libtorch makes it and only the pointer travels through us.
class Device;

}  // namespace gloo::transport
