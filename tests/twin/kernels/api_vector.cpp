// One vector API call on an image of UB: loads the image from GM, makes the call, stores the image back.
// The test states in NumPy what the call does to the image. Offsets are in bytes; p[] are the call's
// parameters.
#include "kernel_operator.h"

using namespace AscendC;

constexpr uint32_t kImage = 32768;

struct ApiTiling {
  int64_t op;
  int64_t dst, src0, src1;
  int64_t p[16];
};

template <class T>
class Call {
public:
  __aicore__ inline Call(const LocalTensor<uint8_t>& image, const ApiTiling& t)
      : t_(t),
        dst_(At<T>(image, t.dst)),
        src0_(At<T>(image, t.src0)),
        src1_(At<T>(image, t.src1)),
        image_(image) {}

  template <class U>
  __aicore__ inline static LocalTensor<U> At(const LocalTensor<uint8_t>& image, int64_t offset) {
    return image[static_cast<uint32_t>(offset)].template ReinterpretCast<U>();
  }

  __aicore__ inline void Run() {
    const int32_t count = static_cast<int32_t>(t_.p[0]);
    switch (t_.op) {
      case 0:
        Add(dst_, src0_, src1_, count);
        break;
      case 1:
        Add(dst_, src0_, src1_, Mask(), Repeat(), Binary());
        break;
      case 2:
        Muls(dst_, src0_, T(3), count);
        break;
      case 3:
        Exp(dst_, src0_, Mask(), Repeat(), Unary());
        break;
      case 4:
        Duplicate(dst_, T(7), Mask(), Repeat(), static_cast<uint16_t>(t_.p[2]),
                  static_cast<uint8_t>(t_.p[5]));
        break;
      case 5:
        Brcb(dst_, src0_, Repeat(), BrcbRepeatParams(t_.p[2], t_.p[5]));
        break;
      case 6:
        WholeReduceMax(dst_, src0_, count, Repeat(), t_.p[5], t_.p[3], t_.p[6],
                       static_cast<ReduceOrder>(t_.p[8]));
        break;
      case 7:
        WholeReduceSum(dst_, src0_, count, Repeat(), t_.p[5], t_.p[3], t_.p[6]);
        break;
      case 8:
        BlockReduceMax(dst_, src0_, Repeat(), count, t_.p[5], t_.p[3], t_.p[6]);
        break;
      case 9:
        ReduceSum(dst_, src0_, src1_, count);
        break;
      case 10:
        ReduceMax(dst_, src0_, src1_, count, t_.p[8] != 0);
        break;
      case 11:
        Gather(dst_, src0_, At<uint32_t>(image_, t_.src1), static_cast<uint32_t>(t_.p[8]),
               static_cast<uint32_t>(count));
        break;
      case 12:
        Compare(At<uint8_t>(image_, t_.dst), src0_, src1_, static_cast<CMPMODE>(t_.p[8]),
                static_cast<uint32_t>(count));
        break;
      case 13:
        Select(dst_, At<uint8_t>(image_, t_.p[9]), src0_, src1_, static_cast<SELMODE>(t_.p[8]),
               static_cast<uint32_t>(count));
        break;
      case 14:
        Copy(dst_, src0_, Mask(), Repeat(), CopyRepeatParams(t_.p[2], t_.p[3], t_.p[5], t_.p[6]));
        break;
      default:
        break;
    }
  }

private:
  __aicore__ inline uint64_t Mask() const { return static_cast<uint64_t>(t_.p[0]); }
  __aicore__ inline uint8_t Repeat() const { return static_cast<uint8_t>(t_.p[1]); }
  __aicore__ inline BinaryRepeatParams Binary() const {
    return BinaryRepeatParams(t_.p[2], t_.p[3], t_.p[4], t_.p[5], t_.p[6], t_.p[7]);
  }
  __aicore__ inline UnaryRepeatParams Unary() const {
    return UnaryRepeatParams(t_.p[2], t_.p[3], t_.p[5], t_.p[6]);
  }

  ApiTiling t_;
  LocalTensor<T> dst_, src0_, src1_;
  LocalTensor<uint8_t> image_;
};

template <class T>
__aicore__ inline void RunOnImage(GM_ADDR in, GM_ADDR out, GM_ADDR tiling) {
  GET_TILING_DATA_WITH_STRUCT(ApiTiling, t, tiling);
  TPipe pipe;
  TBuf<TPosition::VECCALC> buffer;
  pipe.InitBuffer(buffer, kImage);
  LocalTensor<uint8_t> image = buffer.Get<uint8_t>();
  GlobalTensor<uint8_t> from, to;
  from.SetGlobalBuffer(in, kImage);
  to.SetGlobalBuffer(out, kImage);
  DataCopy(image, from, kImage);
  SetFlag<HardEvent::MTE2_V>(0);
  WaitFlag<HardEvent::MTE2_V>(0);
  Call<T>(image, t).Run();
  SetFlag<HardEvent::V_MTE3>(0);
  WaitFlag<HardEvent::V_MTE3>(0);
  DataCopy(to, image, kImage);
}

extern "C" __global__ __aicore__ void api_float(GM_ADDR in, GM_ADDR out, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  if ASCEND_IS_AIV {
    RunOnImage<float>(in, out, tiling);
  }
}

extern "C" __global__ __aicore__ void api_half(GM_ADDR in, GM_ADDR out, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  if ASCEND_IS_AIV {
    RunOnImage<half>(in, out, tiling);
  }
}
