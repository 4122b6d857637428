#pragma once
// A block of a transfer: what the disk is asked for at once, and again for what it left out.

#include <cstdint>
#include <memory>

#include "file-io/aligned-memory.h"
#include "file-io/faults.h"
#include "file-io/transfer.h"

namespace trainyard {

// What the blocks of a queue have in common.
struct BlockContext {
  // Where blocks go through whose own memory or length the disk would not take; as large as a block.
  AlignedBuffers buffers;
  Faults faults;
};

class Block {
 public:
  // The bytes [begin, begin + length) of the transfer.
  Block(std::shared_ptr<Transfer> transfer, int64_t begin, int64_t length, BlockContext& context);
  Block(Block&& other) noexcept = default;
  Block& operator=(Block&& other) noexcept = default;

  // The next request for it.
  const TransferFile& file() const { return transfer_->file(); }
  Direction direction() const { return transfer_->direction; }
  char* data() const { return start() + done_; }
  int64_t offset() const { return transfer_->offset + begin_ + done_; }
  int64_t length() const { return context_->faults.asked(padded_ - done_, step()); }

  // Takes what that request came back with: bytes, or a negative error number. Whether another one is needed; when
  // not, the block has ended, well or badly, and its transfer knows.
  bool advance(int64_t result);

 private:
  char* start() const { return buffer_ != nullptr ? buffer_ : transfer_->data + begin_; }
  int64_t step() const { return file().is_direct ? file().offset_alignment : 1; }
  void end(int error);

  std::shared_ptr<Transfer> transfer_;
  BlockContext* context_;
  int64_t begin_;
  int64_t length_;
  // The length, and what direct I/O needs beyond it.
  int64_t padded_;
  int64_t done_ = 0;
  int fruitless_ = 0;
  char* buffer_ = nullptr;
};

}  // namespace trainyard
