{
  description = "Run commands on a machine behind NAT, and drive it over the internet";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = build: nixpkgs.lib.genAttrs systems (system: build nixpkgs.legacyPackages.${system});
      workspace = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).workspace.package;
      package = pkgs: name: pkgs.rustPlatform.buildRustPackage {
        pname = name;
        inherit (workspace) version;
        src = self;
        cargoLock.lockFile = ./Cargo.lock;
        cargoBuildFlags = [ "--package" name ]
          ++ nixpkgs.lib.optionals (name == "p2p-router") [ "--features" "mesh" ];
        # They need browsers, terminals and network namespaces: scripts/test.sh runs them.
        doCheck = false;
        nativeBuildInputs = [ pkgs.installShellFiles ];
        postInstall = ''
          $out/bin/${name} man > ${name}.1
          installManPage ${name}.1
          for shell in bash zsh fish; do
            $out/bin/${name} completions $shell > ${name}.$shell
            installShellCompletion --$shell --name ${name} ${name}.$shell
          done
        '';
        meta = {
          description = "p2prouter: ${name}";
          homepage = workspace.repository;
          license = nixpkgs.lib.licenses.mit;
          mainProgram = name;
          platforms = systems;
        };
      };
    in
    {
      packages = each (pkgs: rec {
        p2p-router = package pkgs "p2p-router";
        p2p-inner = package pkgs "p2p-inner";
        p2p-console = package pkgs "p2p-console";
        default = p2p-console;
      });
    };
}
