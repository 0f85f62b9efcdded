// Stands in for the real NCCL calls where CUDA or NCCL was not found when this program was built.
#include "comm/nccl/nccl_fabric.h"

namespace seamwright::comm {

bool nccl_available() { return false; }
std::string nccl_version() { return "absent"; }

std::shared_ptr<NcclCalls> make_nccl_calls(int /*device*/) {
  fail(ErrorCode::kUnsupported,
       "this program was built without NCCL, so ranks cannot exchange GPU memory directly: build "
       "with -DSEAMWRIGHT_CUDA=ON where the CUDA toolkit and NCCL are installed, or let the ranks "
       "talk over MPI");
}

}  // namespace seamwright::comm
