#include "comm/mpi/mpi_fabric.h"

#include <cstdlib>
#include <utility>

#include "comm/mpi/mpi_engine.h"

namespace seamwright::comm {
namespace {

class MpiFabric final : public Fabric {
 public:
  explicit MpiFabric(std::unique_ptr<MpiEngine> engine)
      : Fabric(engine->world().rank, engine->world().size), engine_(std::move(engine)) {
    engine_->activate({[this](int from, Bytes mail) { deliver_mail(from, std::move(mail)); },
                       [this](int peer, const std::string& how) { report_lost(peer, how); },
                       [this](const std::string& what) { report_failure(what); }});
  }

  ~MpiFabric() override {
    if (!closed()) abort("it left without closing the fabric");
    engine_->finish(closed());
  }

 protected:
  void start_send(int peer, State operation, ConstBuffer bytes, Stream) override {
    engine_->send(peer, std::move(operation), std::move(bytes));
  }
  void start_recv(int peer, State operation, Buffer bytes, Stream) override {
    engine_->recv(peer, std::move(operation), std::move(bytes));
  }
  void start_post(int peer, State operation, std::shared_ptr<const Bytes> mail) override {
    engine_->post(peer, std::move(operation), std::move(mail));
  }
  void fail_outstanding(const Error& error) override { engine_->fail_all(error); }

 private:
  std::unique_ptr<MpiEngine> engine_;
};

}  // namespace

bool mpi_available() { return true; }

bool launched_by_mpi() {
  // Set by mpirun (Open MPI), by PMIx launchers and by srun's PMI.
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);  // one of the calls allowed before MPI is started
  return {text, static_cast<std::size_t>(length)};
}

std::unique_ptr<Fabric> connect_mpi(const MpiOptions& options) {
  return std::make_unique<MpiFabric>(std::make_unique<MpiEngine>(options));
}

}  // namespace seamwright::comm
