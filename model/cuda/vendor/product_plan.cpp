// cuBLASLt sees row-major matrices as their transposes: y^T
// [out, rows] = w [out, in] x^T [in, rows].
#include <array>

#include "model/cuda/vendor/real_calls.h"

namespace seamwright::model::cuda {
namespace {

cudaDataType_t to_blas(DType type) {
  switch (type) {
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

// A matrix whose columns lie `stride` elements apart.
cublasLtMatrixLayout_t layout(DType type, std::int64_t rows, std::int64_t columns,
                              std::int64_t stride, std::int64_t batch, std::int64_t batch_stride) {
  cublasLtMatrixLayout_t made = nullptr;
  check_cublas(cublasLtMatrixLayoutCreate(&made, to_blas(type), static_cast<std::uint64_t>(rows),
                                          static_cast<std::uint64_t>(columns), stride),
               "cublasLtMatrixLayoutCreate");
  const auto count = static_cast<std::int32_t>(batch);
  check_cublas(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                                sizeof count),
               "setting a batch");
  check_cublas(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                                &batch_stride, sizeof batch_stride),
               "setting a batch stride");
  return made;
}

// Owns a preference.
struct Preference {
  Preference() {
    check_cublas(cublasLtMatmulPreferenceCreate(&handle), "cublasLtMatmulPreferenceCreate");
  }
  ~Preference() { cublasLtMatmulPreferenceDestroy(handle); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;
  template <class T>
  void set(cublasLtMatmulPreferenceAttributes_t name, T value) {
    check_cublas(cublasLtMatmulPreferenceSetAttribute(handle, name, &value, sizeof value),
                 "setting a preference");
  }
  cublasLtMatmulPreference_t handle = nullptr;
};

}  // namespace

ProductPlan::ProductPlan(cublasLtHandle_t handle, const Product& p, unsigned alignment,
                         const void* workspace, std::size_t workspace_bytes)
    : scale_(p.scale), keep_(p.residual ? 1.0F : 0.0F), bias_(p.bias) {
  text_ =
      fmt::format("a product of {} rows, {} -> {}, in {}", p.rows, p.in, p.out, to_string(p.type));
  describe(p, workspace);
  list(handle, alignment, workspace_bytes);
}

ProductPlan::~ProductPlan() {
  if (work_ != nullptr) cublasLtMatmulDescDestroy(work_);
  for (cublasLtMatrixLayout_t one : {w_, x_, y_}) {
    if (one != nullptr) cublasLtMatrixLayoutDestroy(one);
  }
}

ProductPlan::ProductPlan(ProductPlan&& other) noexcept
    : settled(other.settled),
      scale_(other.scale_),
      keep_(other.keep_),
      bias_(other.bias_),
      text_(std::move(other.text_)),
      work_(std::exchange(other.work_, nullptr)),
      w_(std::exchange(other.w_, nullptr)),
      x_(std::exchange(other.x_, nullptr)),
      y_(std::exchange(other.y_, nullptr)),
      algorithms_(std::move(other.algorithms_)),
      taken_(other.taken_) {}

void ProductPlan::describe(const Product& p, const void* placeholder) {
  // fp32 means fp32 here: TF32 would have to be asked for.
  check_cublas(cublasLtMatmulDescCreate(&work_, CUBLAS_COMPUTE_32F, CUDA_R_32F),
               "cublasLtMatmulDescCreate");
  const cublasOperation_t turn = p.w_transposed ? CUBLAS_OP_N : CUBLAS_OP_T;
  check_cublas(
      cublasLtMatmulDescSetAttribute(work_, CUBLASLT_MATMUL_DESC_TRANSA, &turn, sizeof turn),
      "setting a transposition");
  if (p.bias) {
    const cublasLtEpilogue_t epilogue =
        p.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
    check_cublas(cublasLtMatmulDescSetAttribute(work_, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                                sizeof epilogue),
                 "setting an epilogue");
    check_cublas(cublasLtMatmulDescSetAttribute(work_, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                &placeholder, sizeof placeholder),
                 "setting a bias");
  }
  w_ = p.w_transposed ? layout(p.type, p.out, p.in, p.w_stride, p.batch, p.w_batch)
                      : layout(p.type, p.in, p.out, p.w_stride, p.batch, p.w_batch);
  x_ = layout(p.type, p.in, p.rows, p.x_stride, p.batch, p.x_batch);
  y_ = layout(p.result_type, p.out, p.rows, p.y_stride, p.batch, p.y_batch);
}

void ProductPlan::list(cublasLtHandle_t handle, unsigned alignment, std::size_t workspace_bytes) {
  constexpr int kMost = 8;
  Preference preference;
  preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
  // No split along `in`: parts added in any order would change the bits.
  preference.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                 static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
  for (const auto name :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    preference.set(name, static_cast<std::uint32_t>(alignment));
  }
  std::array<cublasLtMatmulHeuristicResult_t, kMost> found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle, work_, w_, x_, y_, y_, preference.handle, kMost, found.data(), &count);
  for (int i = 0; status == CUBLAS_STATUS_SUCCESS && i < count; ++i) {
    const auto& one = found[static_cast<std::size_t>(i)];
    if (one.state == CUBLAS_STATUS_SUCCESS) algorithms_.push_back(one.algo);
  }
  if (algorithms_.empty()) {
    fail(ErrorCode::kUnsupported, "cuBLASLt has no algorithm for {}", text_);
  }
}

void ProductPlan::run(cublasLtHandle_t handle, const ProductOperands& operands, void* workspace,
                      std::size_t workspace_bytes, cudaStream_t stream) const {
  if (bias_) {
    check_cublas(cublasLtMatmulDescSetAttribute(work_, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                &operands.bias, sizeof operands.bias),
                 "setting a bias");
  }
  const void* added = operands.residual != nullptr ? operands.residual : operands.y;
  const cublasStatus_t status =
      cublasLtMatmul(handle, work_, &scale_, operands.w, w_, operands.x, x_, &keep_, added, y_,
                     operands.y, y_, &algorithms_[taken_], workspace, workspace_bytes, stream);
  if (status != CUBLAS_STATUS_SUCCESS) {
    fail(ErrorCode::kResource, "{} failed: {}", text_, cublasLtGetStatusString(status));
  }
}

}  // namespace seamwright::model::cuda
