#pragma once
// Transfers by threads that each wait for one request: pread and pwrite, which every system has.

#include <thread>
#include <vector>

#include "file-io/transfer-queue.h"

namespace trainyard {

class ThreadQueue final : public TransferQueue {
 public:
  // As many threads as requests may be under way, within reason.
  explicit ThreadQueue(const QueueOptions& options);
  ~ThreadQueue() override;

  void start(std::shared_ptr<Transfer> transfer) override { source_.add(std::move(transfer)); }

 private:
  void work();

  BlockSource source_;
  std::vector<std::thread> threads_;
};

}  // namespace trainyard
