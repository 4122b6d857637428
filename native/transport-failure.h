#pragma once
// What Gloo finds wrong with a message it finds on a thread of its own, and throws there, where nobody can catch it: the
// process would be aborted without a word of ours. Such a message is one that is longer than the one expected, which
// is what comes when ranks are not in the same operation.

#include <optional>
#include <string>

namespace trainyard {

// From now on such a failure is kept, and the process has a few seconds to say what it knows before it is aborted.
void keep_transport_failures();

// What Gloo said, if it came to that. Its thread is lost, with whatever it held: nothing more can be exchanged.
std::optional<std::string> transport_failure();

}  // namespace trainyard
