# GROUNDUP_SANITIZE=address,undefined or thread: everything under those sanitizers of the compiler.
# The core lands in this build's own folder, never beside the one in use; tools/sanitize.py puts a
# package around it and runs the tests.
set(GROUNDUP_SANITIZE "" CACHE STRING "sanitizers, as -fsanitize= takes them; empty: none")
if(NOT GROUNDUP_SANITIZE)
  return()
endif()

set(GROUNDUP_CUDA 0) # the sanitizers see the host alone
# Speed enough for the tests, and frames that a report can name. vptr needs the type information
# that the kernels are compiled without.
set(CMAKE_CXX_FLAGS_RELEASE "-O1 -g -fno-omit-frame-pointer")
add_compile_options(-fsanitize=${GROUNDUP_SANITIZE})
add_link_options(-fsanitize=${GROUNDUP_SANITIZE})
if(GROUNDUP_SANITIZE MATCHES "undefined" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_link_options(-static-libubsan -Wl,--exclude-libs,libubsan.a)
endif()
add_compile_definitions(GROUNDUP_PLAIN_MEMORY=1)
if(GROUNDUP_SANITIZE MATCHES "undefined")
  add_compile_options(-fsanitize=float-cast-overflow -fno-sanitize=vptr)
endif()

# Drivers without Python: random text, and what several threads do at once.
set(SANITIZE_SOURCES ${BPE_SOURCES} csrc/pages.cpp csrc/isa.cpp)
list(FILTER SANITIZE_SOURCES EXCLUDE REGEX "/bind[^/]*$")
add_library(without_python OBJECT EXCLUDE_FROM_ALL ${SANITIZE_SOURCES})
target_include_directories(without_python PUBLIC csrc)
target_compile_options(without_python PUBLIC ${WARNINGS})
file(GLOB DRIVERS CONFIGURE_DEPENDS tools/fuzz_*.cpp tools/race_*.cpp)
foreach(source ${DRIVERS})
  get_filename_component(driver ${source} NAME_WE)
  add_executable(${driver} EXCLUDE_FROM_ALL ${source})
  target_link_libraries(${driver} PRIVATE without_python Threads::Threads bpe_baseline)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_link_libraries(${driver} PRIVATE bpe_avx2 bpe_avx512)
  endif()
endforeach()
