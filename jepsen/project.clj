(defproject jepsen.quorate "0.1.0"
  :description "Quorate under Jepsen: a cluster with faults, judged by checkers that believe it nothing"
  :license {:name "MIT OR Apache-2.0"}
  :dependencies [[org.clojure/clojure "1.12.4"]
                 [org.clojure/data.json "2.5.0"]
                 [jepsen "0.3.11"]]
  :main jepsen.quorate.core
  :test-paths ["test"]
  :jvm-opts ["-Xmx4g" "-Djava.awt.headless=true" "-server"])
