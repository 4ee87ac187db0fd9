# groundup._cuda from csrc/*.cu, where a CUDA compiler is. Nothing of torch is included, and the
# CUDA runtime is linked in statically: the module needs a driver when it is used, not a toolkit.
#
# GROUNDUP_CUDA               AUTO: if there is a compiler; 0: never; 1: or fail
# GROUNDUP_CUDA_ARCHITECTURES as CMake writes them, 90 or 80-real;90; empty: the devices seen here,
#                             and without one 80, 90, 100 and the last's PTX for what comes after

set(GROUNDUP_CUDA AUTO CACHE STRING "build groundup._cuda: AUTO, 0 or 1")
set(GROUNDUP_CUDA_ARCHITECTURES "" CACHE STRING "of groundup._cuda; empty: chosen")
if(NOT GROUNDUP_CUDA MATCHES "^(AUTO|0|1)$")
  message(FATAL_ERROR "GROUNDUP_CUDA: expected 0, 1 or nothing, got '${GROUNDUP_CUDA}'.")
endif()

if(GROUNDUP_CUDA STREQUAL "0")
  message(STATUS "groundup: GROUNDUP_CUDA=0, the CUDA kernels are left out.")
  return()
endif()

include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  set(REMEDY "put nvcc of a CUDA toolkit on PATH or name it in CUDACXX, and repeat the installation")
  if(GROUNDUP_CUDA STREQUAL "1")
    message(FATAL_ERROR "groundup: GROUNDUP_CUDA=1 and no CUDA compiler was found; ${REMEDY}.")
  endif()
  message(STATUS "groundup: no CUDA compiler was found, so the CUDA kernels are left out; ${REMEDY}.")
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES OFF) # the target's own, below
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

set(ARCHITECTURES ${GROUNDUP_CUDA_ARCHITECTURES})
if(NOT ARCHITECTURES)
  if(CMAKE_CUDA_ARCHITECTURES_NATIVE MATCHES "^[0-9]")
    set(ARCHITECTURES ${CMAKE_CUDA_ARCHITECTURES_NATIVE})
  elseif(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8) # the first that knows 100
    set(ARCHITECTURES 80-real 90)
  else()
    set(ARCHITECTURES 80-real 90-real 100)
  endif()
endif()
string(REPLACE ";" "," ARCHITECTURE_LIST "${ARCHITECTURES}")
message(STATUS "groundup: CUDA ${CMAKE_CUDA_COMPILER_VERSION} kernels for ${ARCHITECTURE_LIST}.")

pybind11_add_module(_cuda MODULE NO_EXTRAS csrc/bind_cuda.cpp csrc/adamw.cu csrc/cross_entropy.cu)
target_include_directories(_cuda PRIVATE csrc)
target_compile_definitions(_cuda PRIVATE GROUNDUP_VERSION="${GROUNDUP_VERSION}"
                                         GROUNDUP_CUDA_ARCHITECTURES="${ARCHITECTURE_LIST}")
target_compile_options(
  _cuda PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${WARNINGS}>" "$<$<COMPILE_LANGUAGE:CUDA>:--threads=0>")
target_link_libraries(_cuda PRIVATE CUDA::cudart_static)
set_target_properties(_cuda PROPERTIES CUDA_ARCHITECTURES "${ARCHITECTURES}" CUDA_STANDARD 17
                                       CUDA_STANDARD_REQUIRED ON CUDA_RUNTIME_LIBRARY Static)
