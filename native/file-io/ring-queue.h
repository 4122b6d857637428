#pragma once
// Transfers by io_uring: each thread keeps many requests under way and sleeps in the kernel until one ends.

#include "file-io/ring.h"

#ifdef TRAINYARD_RING

#include <memory>
#include <thread>
#include <vector>

#include "file-io/transfer-queue.h"

namespace trainyard {

class RingQueue final : public TransferQueue {
 public:
  // Throws std::system_error where the kernel has no io_uring or does not allow it.
  explicit RingQueue(const QueueOptions& options);
  ~RingQueue() override;

  void start(std::shared_ptr<Transfer> transfer) override;

 private:
  class Worker;

  BlockSource source_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace trainyard

#endif
