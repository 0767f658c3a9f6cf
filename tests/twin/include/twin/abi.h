// SPDX-License-Identifier: Apache-2.0
// The narrow waist between the kernel-facing headers (templates) and the compiled machine: one Instr per API
// call.
#pragma once

#include <cstddef>
#include <cstdint>

#define TWIN_API __attribute__((visibility("default")))
// Last parameter of every API function: where the kernel called it. Invisible to callers, so signatures
// match.
#define TWIN_SITE ::twin::Site site = ::twin::Site::Here()

namespace twin {

enum class Mem : uint8_t { kUb, kL1, kL0a, kL0b, kL0c, kBt, kFb, kGm, kCount };
enum class Pipe : uint8_t { kS, kV, kM, kMte1, kMte2, kMte3, kFix, kCount };
constexpr int kPipes = static_cast<int>(Pipe::kCount);
constexpr int kLocalMems = static_cast<int>(Mem::kGm);

enum class Rule : uint8_t {
  kCapacity,      // more bytes than the buffer has
  kAlignment,     // operand address or length off the unit of its memory
  kRange,         // parameter outside its documented range, or wrapped in its field
  kRepeat,        // repeat count or repeat/block stride outside its field
  kBounds,        // access outside the buffer or GM tensor
  kUninit,        // bytes consumed that nothing wrote
  kUseAfterFree,  // tensor used after FreeTensor
  kQueue,         // AllocTensor, EnQue, DeQue, FreeTensor out of order; depth; buffer counts
  kType,          // element type that the API does not take
  kPosition,      // operand in a buffer that the API cannot reach
  kCore,          // cube API on a vector core or the reverse
  kHazardRaw,     // read not ordered after the write it needs
  kHazardWar,     // write not ordered after an earlier read
  kHazardWaw,     // write not ordered after an earlier write
  kScalarHazard,  // scalar access to data that another pipe still moves (or the reverse)
  kGmRace,        // two cores touch the same GM bytes with no order between them
  kStaleRead,     // scalar GM read served from a cache line that memory has outdated
  kDirtyLine,     // scalar GM write not cleaned before others read it, or at the end
  kFlag,          // flag set twice, waited without a set, left set
  kFlagPair,      // pipe pair that the core does not have
  kEventId,       // reserved or out-of-range event id
  kCrossFlag,     // cross-core flag: id, mode, counter overflow, left set, kernel type without flags
  kDeadlock,      // cores wait for each other for ever
  kBlockDim,      // more blocks than cores where all must be resident
  kAtomic,        // atomic mode left on, or a type without atomic support
  kUnitFlag,      // unit flag sequence of Mmad and Fixpipe broken
  kMask,          // vector mask 0, too large, or left in counter mode
  kOverlap,       // operands of one instruction overlap in a forbidden way
  kTaskType,      // launch does not fit the kernel's declared type
  kUnsupported,   // the real device or the twin has no such form
  kCount
};

enum class Access : uint8_t {
  kRead,   // consumes the bytes: they must be initialised
  kLoad,   // moves the bytes: their initialised state travels with the data (Instr::Move)
  kWrite,  // defines the bytes
  kStore,  // written by Instr::Move, which carries the state of the source
  kAtomic  // read-modify-write at the memory, commutes with other atomics
};

// Which data path an instruction loads; with Cost it is all that the time model knows about it.
enum class Path : uint8_t {
  kNone,
  kScalar,
  kGmToUb,
  kGmToL1,
  kGmToL0,
  kUbToGm,
  kUbToUb,
  kL1ToL0a,
  kL1ToL0b,
  kL1ToBt,
  kL1ToFb,
  kL1Fill,
  kL0Fill,
  kL0cToGm,
  kL0cToL1,
  kL1ToGm,
  kVector,
  kCube,
  kL1Load3dA,
  kL1Load3dB,
  kCount
};

struct Cost {
  Path path = Path::kNone;
  uint64_t bytes = 0;          // moved over the path (GM side without gaps)
  uint32_t bursts = 0;         // contiguous pieces on the GM side
  uint32_t burst_bytes = 0;    // length of one piece
  uint64_t row_stride = 0;     // GM distance between pieces in bytes
  uint32_t repeats = 0;        // vector repeats
  uint32_t repeat_cycles = 1;  // UB bank cycles of one repeat
  uint64_t work = 0;           // cube: 16x16xk0 steps; FIX: elements out
  uint8_t mask_sets = 0;       // mask registers that the call sets before and after
  bool l2_bypass = false;
};

struct Site {
  const char* file = "";
  int line = 0;
  static constexpr Site Here(const char* f = __builtin_FILE(), int l = __builtin_LINE()) {
    return Site{f, l};
  }
};

// A tensor in on-chip memory. buffer/generation name the allocation, so that use after FreeTensor is seen.
struct LocalRef {
  Mem mem = Mem::kUb;
  uint8_t position = 0;
  int16_t buffer = -1;
  uint32_t generation = 0;
  uint32_t addr = 0;
  uint32_t bytes = 0;
};

// A tensor in GM: the host address itself. limit = bytes from addr that the kernel declared, ~0 when it did
// not.
struct GlobalRef {
  uint8_t* addr = nullptr;
  uint64_t limit = ~uint64_t{0};
  bool l2_bypass = false;
};

struct VectorMask {
  uint64_t low = ~uint64_t{0};
  uint64_t high = ~uint64_t{0};
  bool counter = false;
};

class Core;

class TWIN_API Instr {
 public:
  Instr(const char* api, Pipe pipe, Site site);

  // A broken rule is reported once; the instruction is then not executed.
  bool Require(bool ok, Rule rule, const char* format, ...) __attribute__((format(printf, 4, 5)));
  void OnCube(const char* what);
  void OnVector(const char* what);
  void In(const LocalRef& tensor, const char* operand, unsigned allowed_mems, unsigned align);

  void Touch(Access kind, const LocalRef& tensor, const char* operand, uint64_t offset, uint64_t bytes);
  void Touch(Access kind, const GlobalRef& tensor, const char* operand, uint64_t offset, uint64_t bytes);
  // L0C accesses under the unit flag need no M_FIX / FIX_M; dense accumulation needs no barrier inside M.
  void UnitFlagOrdered() { unit_flag_ = true; }
  void AccumulateOrdered() { accumulate_ = true; }
  void SetsMasks(uint8_t times) { mask_sets_ = times; }

  // Checks hazards, records the instruction; false: a rule is broken, do not execute.
  bool Issue(const Cost& cost);

  // Data movement that carries the initialised state of the bytes.
  void Move(const LocalRef& dst, uint64_t dst_offset, const LocalRef& src, uint64_t src_offset,
            uint32_t bytes);
  void Move(const LocalRef& dst, uint64_t dst_offset, const GlobalRef& src, uint64_t src_offset,
            uint32_t bytes);
  void Move(const GlobalRef& dst, uint64_t dst_offset, const LocalRef& src, uint64_t src_offset,
            uint32_t bytes);
  // Square of n x n elements of `size` bytes; strides in bytes between rows.
  void MoveTransposed(const LocalRef& dst, uint64_t dst_offset, uint32_t dst_stride, const LocalRef& src,
                      uint64_t src_offset, uint32_t src_stride, uint32_t n, uint32_t size);
  void MarkWritten(const LocalRef& tensor, uint64_t offset, uint64_t bytes);
  void MarkUnwritten(const LocalRef& tensor, uint64_t offset, uint64_t bytes);

  uint8_t* Data(const LocalRef& tensor, uint64_t offset = 0) const;
  bool ok() const { return ok_; }
  bool checking() const { return checking_; }
  Core& core() const { return *core_; }
  Pipe pipe() const { return pipe_; }
  const char* api() const { return api_; }
  Site site() const { return site_; }

 private:
  friend class HazardChecker;
  void CheckRegion(const LocalRef& tensor, const char* operand, uint64_t offset, uint64_t bytes);

  Core* core_;
  const char* api_;
  Site site_;
  Pipe pipe_;
  bool ok_ = true;
  bool checking_;
  bool unit_flag_ = false;
  bool accumulate_ = false;
  uint8_t mask_sets_ = 0;
};

constexpr unsigned MemBit(Mem m) {
  return 1u << static_cast<unsigned>(m);
}

// Flags and barriers inside a core. pipe == kCount: all pipes.
TWIN_API void SetEvent(Pipe src, Pipe dst, int id, Site site);
TWIN_API void WaitEvent(Pipe src, Pipe dst, int id, Site site);
TWIN_API void Barrier(Pipe pipe, Site site);
TWIN_API int AllocEvent(Pipe src, Pipe dst, bool reserve, Site site);
TWIN_API void ReleaseEvent(Pipe src, Pipe dst, int id, Site site);

// Between cores.
TWIN_API void CrossSet(int mode, Pipe pipe, int id, Site site);
TWIN_API void CrossWait(int id, Site site);
TWIN_API void SyncAllCores(bool vector_only, Site site);
TWIN_API void SoftSyncAll(int used_cores, const GlobalRef& workspace, Site site);
TWIN_API void SoftSet(const GlobalRef& slot, Site site);
TWIN_API void SoftWait(const GlobalRef& slot, Site site);

// Memory and queues.
TWIN_API int PipeOpen(Site site);
TWIN_API void PipeClose(int pipe_id, bool barrier, Site site);
TWIN_API void PipeReset(Site site);
TWIN_API int InitSlots(int position, Mem mem, uint32_t count, uint32_t bytes, Site site);
TWIN_API LocalRef SlotRef(int first_slot);
TWIN_API LocalRef SlotPart(int slot, uint32_t offset, uint64_t bytes, Site site);
TWIN_API int QueueOpen(int position, Mem mem, Pipe producer, Pipe consumer, int depth, int first_slot,
                       int count, Site site);
TWIN_API LocalRef QueueAlloc(int queue, Site site);
TWIN_API void QueueEnque(int queue, const LocalRef& tensor, Site site);
TWIN_API LocalRef QueueDeque(int queue, Site site);
TWIN_API void QueueFree(int queue, const LocalRef& tensor, Site site);
TWIN_API int QueueCount(int queue, bool idle);
TWIN_API bool QueueFull(int queue);
TWIN_API LocalRef RawRef(int position, Mem mem, uint32_t addr, uint32_t bytes, Site site);

// Scalar access to GM goes through the core's data cache.
TWIN_API void GmLoad(const GlobalRef& tensor, uint64_t offset, void* out, uint32_t bytes, Site site);
TWIN_API void GmStore(const GlobalRef& tensor, uint64_t offset, const void* value, uint32_t bytes, Site site);
TWIN_API void CleanCache(const GlobalRef& tensor, uint64_t offset, bool entire, bool to_gm, Site site);

// Core state that API calls read and write.
TWIN_API VectorMask& MaskState();
TWIN_API void SetCounterMode(bool on, Site site);
TWIN_API void SetMask(uint64_t low, uint64_t high, const char* api, Site site);
TWIN_API uint64_t (&CompareMask())[2];
TWIN_API void SetAtomic(int type, Site site);  // AtomicType, 0: none
TWIN_API int AtomicState();
TWIN_API uint64_t UbUsed();
TWIN_API uint64_t UbCapacity();
TWIN_API uint64_t SelectReserveBegin();

TWIN_API int64_t BlockIndex();
TWIN_API int64_t BlockCount();
TWIN_API int64_t SubBlockIndex();
TWIN_API int64_t TaskRatio();
TWIN_API uint64_t ReservedWorkspace();
TWIN_API uint64_t TilingKey();
TWIN_API void DeclareTaskType(int type, Site site);
TWIN_API const void* TilingBytes(const void* tiling, uint64_t bytes, Site site);
TWIN_API int64_t CycleCount();

// Cube arithmetic, compiled once with optimisation: c[m x n] (+)= a[m x k] * b[k x n], row-major floats.
TWIN_API void MultiplyAccumulate(const float* a, const float* b, float* c, int m, int n, int k);

}  // namespace twin
