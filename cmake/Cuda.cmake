# What the CUDA backend and the NCCL fabric need. Included where SEAMWRIGHT_CUDA is on.
find_package(CUDAToolkit REQUIRED)
if(NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER "${CUDAToolkit_NVCC_EXECUTABLE}" CACHE FILEPATH "nvcc")
endif()
# Machine code for Ampere, Ada and Hopper, and PTX of the last for what comes after.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "80-real;86-real;89-real;90" CACHE STRING "GPU architectures")
endif()
enable_language(CUDA)
# CMake 3.25 does not know how nvcc 13 is told to take C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
if(CCACHE_PROGRAM AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()
target_compile_options(sw_options INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror>)

find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9
             HINTS ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_LIBRARY_ROOT}/lib64)
if(NOT CUDNN_INCLUDE_DIR OR NOT CUDNN_LIBRARY)
  message(FATAL_ERROR
    "SEAMWRIGHT_CUDA is on, but cuDNN 9 was not found (cudnn.h, libcudnn.so). Install it "
    "(Debian and Ubuntu, from NVIDIA's repository: cudnn9-cuda-${CUDAToolkit_VERSION_MAJOR}), name "
    "its place with -DCUDNN_INCLUDE_DIR=... -DCUDNN_LIBRARY=..., or build without CUDA: "
    "-DSEAMWRIGHT_CUDA=OFF.")
endif()
file(STRINGS "${CUDNN_INCLUDE_DIR}/cudnn_version.h" cudnn_lines REGEX "#define CUDNN_MAJOR")
if(NOT cudnn_lines)
  file(STRINGS "${CUDNN_INCLUDE_DIR}/cudnn_version_v9.h" cudnn_lines REGEX "#define CUDNN_MAJOR")
endif()
if(NOT cudnn_lines MATCHES "CUDNN_MAJOR +9")
  message(FATAL_ERROR "The CUDA backend needs cuDNN 9; ${CUDNN_INCLUDE_DIR} has: ${cudnn_lines}")
endif()
message(STATUS "cuDNN: ${CUDNN_LIBRARY}; GPU architectures: ${CMAKE_CUDA_ARCHITECTURES}")
