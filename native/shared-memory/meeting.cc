#include "shared-memory/meeting.h"

#include <c10/core/ScalarType.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <system_error>

#include "errors.h"

namespace trainyard {

using Clock = std::chrono::steady_clock;

struct alignas(128) Meeting::Head {
  uint64_t token;
  std::atomic<uint32_t> given_up;  // rank + 1
};

struct alignas(128) Meeting::Seat {
  std::atomic<uint32_t> point;
  std::atomic<uint32_t> sleepers;
  std::atomic<int32_t> process;
  Announcement announcements[2];
};

namespace {

static_assert(std::atomic<uint32_t>::is_always_lock_free);

// How long a rank sleeps before it looks whether the one it waits for still lives.
constexpr auto kLongestSleep = std::chrono::milliseconds(50);

// In place of the file that stands for a process.
constexpr int kGone = -2;

constexpr size_t rounded(size_t bytes) { return (bytes + 127) / 128 * 128; }

uint32_t* word(std::atomic<uint32_t>& value) { return reinterpret_cast<uint32_t*>(&value); }

void futex_wait(std::atomic<uint32_t>& value, uint32_t seen, std::chrono::nanoseconds longest) {
  const timespec time{longest.count() / 1'000'000'000, longest.count() % 1'000'000'000};
  syscall(SYS_futex, word(value), FUTEX_WAIT, seen, &time, nullptr, 0);
}

void futex_wake_all(std::atomic<uint32_t>& value) {
  syscall(SYS_futex, word(value), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

bool has_come(uint32_t at, uint32_t point) { return static_cast<int32_t>(at - point) >= 0; }

CodedError given_up(uint32_t rank) {
  return CodedError("COLLECTIVE_FAILED", "rank " + std::to_string(rank) + " gave up");
}

CodedError unreachable() { return CodedError("COLLECTIVE_FAILED", "rank 0's memory cannot be mapped"); }

OpenFile open_of(const MeetingAddress& address) {
  try {
    return open_anonymous_file(address.file, Access::write);
  } catch (const std::system_error&) {
    throw unreachable();
  }
}

uint64_t new_token() {
  uint64_t token = 0;
  if (getrandom(&token, sizeof token, 0) != sizeof token) throw CodedError("COLLECTIVE_FAILED", "no random numbers");
  return token;
}

}  // namespace

Meeting::Meeting(const MeetingOptions& options)
    : options_(options), file_(create_anonymous_file("trainyard-meeting", bytes())) {
  memory_ = static_cast<uint8_t*>(map_shared(file_, bytes(), Access::write));
  head().token = new_token();
  address_ = {address_of(file_), head().token};
  seat(options_.rank).process.store(getpid());
}

Meeting::Meeting(const MeetingOptions& options, const MeetingAddress& address)
    : options_(options), address_(address), file_(open_of(address)) {
  if (address.file.bytes != bytes()) throw CodedError("COLLECTIVE_FAILED", "rank 0 meets other ranks");
  memory_ = static_cast<uint8_t*>(map_shared(file_, bytes(), Access::write));
  // In a container of its own, process numbers mean other processes.
  if (head().token != address.token) {
    munmap(memory_, bytes());
    throw unreachable();
  }
  seat(options_.rank).process.store(getpid());
}

Meeting::~Meeting() {
  for (const int process : processes_) {
    if (process >= 0) close(process);
  }
  munmap(memory_, bytes());
}

void Meeting::meet() {
  processes_.assign(options_.world_size, -1);
  for (int rank = 0; rank < options_.world_size; ++rank) {
    // Holds on to the process itself: its number may come to mean another.
    if (rank == options_.rank) continue;
    processes_[rank] = static_cast<int>(syscall(SYS_pidfd_open, process_of(rank), 0));
    if (processes_[rank] < 0 && errno == ESRCH) processes_[rank] = kGone;
  }
  gather();
}

size_t Meeting::bytes() const {
  const size_t ranks = options_.world_size;
  return sizeof(Head) + ranks * sizeof(Seat) + rounded(2 * ranks * ranks * sizeof(SharedPlace)) +
         2 * ranks * kInlineBytes;
}

Meeting::Head& Meeting::head() const { return *reinterpret_cast<Head*>(memory_); }

Meeting::Seat& Meeting::seat(int rank) const { return reinterpret_cast<Seat*>(memory_ + sizeof(Head))[rank]; }

Announcement& Meeting::announcement(int rank, uint64_t sequence) const {
  return seat(rank).announcements[sequence % 2];
}

SharedPlace& Meeting::place(int rank, int peer, uint64_t sequence) const {
  const size_t ranks = options_.world_size;
  auto* places = reinterpret_cast<SharedPlace*>(memory_ + sizeof(Head) + ranks * sizeof(Seat));
  return places[((sequence % 2) * ranks + rank) * ranks + peer];
}

uint8_t* Meeting::inline_memory(int rank, uint64_t sequence) const {
  const size_t ranks = options_.world_size;
  uint8_t* first = memory_ + sizeof(Head) + ranks * sizeof(Seat) + rounded(2 * ranks * ranks * sizeof(SharedPlace));
  return first + ((sequence % 2) * ranks + rank) * kInlineBytes;
}

int32_t Meeting::process_of(int rank) const { return seat(rank).process.load(); }

void Meeting::gather() {
  Seat& own = seat(options_.rank);
  own.point.store(++point_);
  if (own.sleepers.load() > 0) futex_wake_all(own.point);
  for (int step = 1; step < options_.world_size; ++step) await((options_.rank + step) % options_.world_size, point_);
}

void Meeting::demand_all() const {
  if (const uint32_t rank = head().given_up.load(); rank != 0) throw given_up(rank - 1);
}

void Meeting::give_up() noexcept {
  uint32_t nobody = 0;
  head().given_up.compare_exchange_strong(nobody, options_.rank + 1);
}

void Meeting::await(int rank, uint32_t point) {
  const std::atomic<uint32_t>& at = seat(rank).point;
  for (int look = 0; look < options_.looks; ++look) {
    if (has_come(at.load(std::memory_order_acquire), point)) return;
    if (options_.yields) {
      sched_yield();
    } else {
      pause_briefly();
    }
  }
  const Clock::time_point deadline = Clock::now() + options_.timeout;
  while (!has_come(at.load(std::memory_order_acquire), point)) sleep(rank, point, deadline);
}

void Meeting::sleep(int rank, uint32_t point, Clock::time_point deadline) {
  Seat& other = seat(rank);
  const auto left = deadline - Clock::now();
  const auto longest = std::clamp<Clock::duration>(left, std::chrono::milliseconds(1), kLongestSleep);
  // Announced before the last look: the other either sees the sleeper or has come already.
  other.sleepers.fetch_add(1);
  const uint32_t seen = other.point.load();
  if (!has_come(seen, point)) futex_wait(other.point, seen, longest);
  other.sleepers.fetch_sub(1);
  if (has_come(other.point.load(), point)) return;
  const std::string name = "rank " + std::to_string(rank);
  if (const uint32_t other_rank = head().given_up.load(); other_rank != 0) throw given_up(other_rank - 1);
  // It may have come, and ended, since the last look.
  if (is_gone(rank) && !has_come(other.point.load(), point)) throw CodedError("COLLECTIVE_FAILED", name + " is gone");
  if (left <= Clock::duration::zero()) throw CodedError("COLLECTIVE_FAILED", "timed out waiting for " + name);
}

bool Meeting::is_gone(int rank) const {
  if (processes_[rank] < 0) return processes_[rank] == kGone;
  pollfd process{processes_[rank], POLLIN, 0};
  return poll(&process, 1, 0) > 0;
}

std::string described(const Announcement& announcement) {
  static constexpr const char* kinds[] = {"all-reduce", "reduce-scatter", "all-gather",
                                          "broadcast",  "barrier",        "all-to-all"};
  return std::string(kinds[announcement.kind]) + " of " +
         c10::toString(static_cast<c10::ScalarType>(announcement.dtype)) + " × " +
         std::to_string(announcement.elements) + " (number " + std::to_string(announcement.sequence) + ")";
}

}  // namespace trainyard
