// Stands in for comm/mpi/ where no MPI was found when this program was built.
#include "comm/mpi/mpi_fabric.h"

namespace seamwright::comm {

bool mpi_available() { return false; }
bool launched_by_mpi() { return false; }
std::string mpi_version() { return "absent"; }

std::unique_ptr<Fabric> connect_mpi(const MpiOptions&) {
  fail(ErrorCode::kUnsupported,
       "this program was built without MPI, so a gang of several processes cannot run: install "
       "Open MPI (Debian: libopenmpi-dev) and build again, or use one rank");
}

}  // namespace seamwright::comm
