#pragma once
// Where the ranks of one host wait for each other: a page of shared memory with a counter per rank. A rank adds one
// to its counter when it has come to a point, and waits until the counters of the others say so too. It looks for a
// short while and then sleeps on the counter (a futex), so that it is quick where each rank has a core and leaves
// the core to the others where it has not.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "shared-memory/shared-allocator.h"

namespace trainyard {

// What a rank is about to do. The ranks compare before they touch each other's memory.
struct Announcement {
  uint64_t sequence;
  int32_t kind;
  int32_t dtype;
  int32_t detail;  // the reduction, or the root
  int32_t is_inline;
  uint64_t elements;

  bool operator==(const Announcement&) const = default;
};

// How the ranks of one host find each other and wait.
struct MeetingOptions {
  int rank;
  int world_size;
  std::chrono::milliseconds timeout;
  // How often a rank looks before it sleeps, and whether it offers its core to others in between.
  int looks;
  bool yields;
};

// Where another rank maps the meeting, and a token that only this meeting has.
struct MeetingAddress {
  FileAddress file;
  uint64_t token = 0;
};

class Meeting {
 public:
  // Small messages are copied here; twice, so that one can be read while the next is written.
  static constexpr size_t kInlineBytes = 512 * 1024;

  // Rank 0 makes the meeting; the others come to the address that it gives. Throws COLLECTIVE_FAILED where the
  // memory of the other process cannot be mapped.
  explicit Meeting(const MeetingOptions& options);
  Meeting(const MeetingOptions& options, const MeetingAddress& address);
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;
  ~Meeting();

  MeetingAddress address() const { return address_; }
  int rank() const { return options_.rank; }
  int world_size() const { return options_.world_size; }

  // What ranks say and show before they come to the point; by turns, as `sequence` is even or odd.
  Announcement& announcement(int rank, uint64_t sequence) const;
  SharedPlace& place(int rank, int peer, uint64_t sequence) const;
  uint8_t* inline_memory(int rank, uint64_t sequence) const;
  int32_t process_of(int rank) const;

  // The first point: every rank is there. Call it once, before anything else, when every rank has been made.
  void meet();

  // Comes to the next point and waits until every rank has. Throws COLLECTIVE_FAILED when one is gone, gave up, or
  // does not come in time.
  void gather();

  // Throws COLLECTIVE_FAILED when a rank has given up: it may have come to this point first, and its memory may be gone.
  void demand_all() const;

  // Tells the others that this rank cannot go on.
  void give_up() noexcept;

 private:
  struct Head;
  struct Seat;

  size_t bytes() const;
  Head& head() const;
  Seat& seat(int rank) const;
  void await(int rank, uint32_t point);
  void sleep(int rank, uint32_t point, std::chrono::steady_clock::time_point deadline);
  bool is_gone(int rank) const;

  MeetingOptions options_;
  MeetingAddress address_;
  OpenFile file_;
  uint8_t* memory_;
  uint32_t point_ = 0;
  std::vector<int> processes_;
};

// Such as "all-gather of float32 × 1000 (number 17)".
std::string described(const Announcement& announcement);

}  // namespace trainyard
