#pragma once
// Collectives between the ranks of one host, in memory that they share: a reduction reads the other ranks' tensors
// where they are. Operations are done in the order in which they were started, by the thread that waits for one or,
// where they are started to run beside the caller, by a thread of the group.

#include <ATen/core/Tensor.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "shared-memory/combine.h"
#include "shared-memory/meeting.h"

namespace trainyard {

enum class Collective : int32_t {
  all_reduce = 0,
  reduce_scatter = 1,
  all_gather = 2,
  broadcast = 3,
  barrier = 4,
  all_to_all = 5,
};

// One operation. Tensors are contiguous, on the host, and of one dtype.
struct SharedOperation {
  Collective kind;
  int32_t detail = 0;  // a Reduction, or the root of a broadcast
  at::Tensor output;
  std::vector<at::Tensor> inputs;
};

class SharedGroup {
 public:
  explicit SharedGroup(const MeetingOptions& options);
  SharedGroup(const MeetingOptions& options, const MeetingAddress& address);
  ~SharedGroup();

  MeetingAddress address() const { return meeting_.address(); }

  // Waits until every rank has come to the meeting; before anything else.
  void meet() { meeting_.meet(); }

  // Returns the operation's ticket.
  uint64_t start(SharedOperation operation, bool beside_caller);
  // Returns when the operation and all before it are done. Throws what went wrong, of it or before.
  void wait(uint64_t ticket);

  // What this rank has read from the memory of the others and written into it.
  uint64_t exchanged_bytes() const { return exchanged_; }

 private:
  void run_beside();
  // Executes the next operation, unless those up to the ticket are finished.
  void run_next(uint64_t ticket);
  void execute(SharedOperation& operation);
  void announce(const SharedOperation& operation, bool is_inline);
  void compare() const;

  void execute_inline(SharedOperation& operation);
  void execute_in_place(SharedOperation& operation);
  void all_reduce_in_place(at::Tensor& tensor, Reduction reduction);
  void reduce_scatter_in_place(SharedOperation& operation);
  void copy_in_place(SharedOperation& operation);

  at::Tensor shared(const at::Tensor& tensor);
  void show(int peer, const at::Tensor& tensor);
  void* see(int rank, int peer);

  Meeting meeting_;
  uint64_t sequence_ = 0;  // of the operation that is being executed
  std::atomic<uint64_t> exchanged_{0};

  std::mutex queue_mutex_;
  std::condition_variable queue_changed_;
  std::deque<SharedOperation> queue_;
  uint64_t started_ = 0;
  uint64_t wanted_beside_ = 0;  // the thread runs operations up to this ticket
  bool closes_ = false;
  std::thread thread_;

  std::mutex execution_mutex_;
  std::atomic<uint64_t> finished_{0};
  std::atomic<uint64_t> failed_{0};  // the first ticket that failed
  std::string failure_;

  // Copies of tensors whose own memory is not shared, used again for each operation.
  std::vector<at::Tensor> copies_;
  size_t copies_taken_ = 0;

  struct Mapping {
    void* data;
    size_t bytes;
    uint64_t used;  // the sequence number of the last operation that read it
  };
  void forget_unused();

  std::map<std::pair<int, uint64_t>, Mapping> mappings_;
};

}  // namespace trainyard
