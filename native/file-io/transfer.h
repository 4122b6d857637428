#pragma once
// One read or write of a file, as whoever waits for it sees it. The disk is asked for it in blocks (block.h).

#include <c10/core/Storage.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "open-file.h"

namespace trainyard {

// A file that is open for as long as transfers need it.
struct TransferFile {
  OpenFile file;
  // Past the page cache (O_DIRECT): memory, offsets and lengths must then be multiples of these.
  bool is_direct;
  int64_t memory_alignment;
  int64_t offset_alignment;
};

enum class Direction { read, write };

// Why a transfer failed: the system's error number, 0 for none, and the offset in the file.
struct TransferFailure {
  int error = 0;
  int64_t offset = 0;
};

class Transfer {
 public:
  // `data` lies in `storage`, which is kept until the end.
  Transfer(std::shared_ptr<const TransferFile> file, Direction direction, int64_t offset, char* data, int64_t bytes,
           c10::Storage storage)
      : direction(direction),
        offset(offset),
        data(data),
        bytes(bytes),
        file_(std::move(file)),
        storage_(std::move(storage)),
        pending_(bytes) {}

  const Direction direction;
  const int64_t offset;
  char* const data;
  const int64_t bytes;

  // While something of it is under way.
  const TransferFile& file() const { return *file_; }

  // So many of its bytes are done, or will not be. The first failure counts.
  void end_part(int64_t length, const TransferFailure& failure) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failure.error != 0 && failure_.error == 0) failure_ = failure;
    pending_ -= length;
    if (pending_ > 0) return;
    // JavaScript's garbage collector may take long to find the transfer.
    file_.reset();
    storage_ = c10::Storage();
    ended_.notify_all();
  }

  // Blocks until nothing of it is under way any more.
  TransferFailure wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    ended_.wait(lock, [this] { return pending_ <= 0; });
    return failure_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  std::shared_ptr<const TransferFile> file_;
  c10::Storage storage_;
  int64_t pending_;
  TransferFailure failure_;
};

}  // namespace trainyard
