(ns jepsen.quorate.remote
  "Nodes as network namespaces of this machine: a remote that runs commands with `nsenter`.

  A node's name is the name of its namespace. Only the network is a namespace of its own: processes and files are this
  machine's, so the DB keeps a directory and a pid file a node and never kills by name."
  (:require [clojure.java.shell :refer [sh]]
            [clojure.string :as str]
            [clj-commons.slingshot :refer [throw+]]
            [jepsen.control.core :as core]))

(defn- copy! [from to]
  (let [{:keys [exit err] :as result} (sh "cp" "-r" "--" from to)]
    (when-not (zero? exit)
      (throw+ (assoc result :type ::copy-failed) nil "cp %s %s: %s" from to err))))

(defrecord Netns [host]
  core/Remote
  (connect [this conn-spec]
    (assoc this :host (:host conn-spec)))

  (disconnect! [this]
    (assoc this :host nil))

  (execute! [_ _ctx action]
    (let [in (:in action)
          command ["nsenter" (str "--net=/run/netns/" host) "sh" "-c" (:cmd action)]]
      (merge action (apply sh (if in (conj command :in in) command)))))

  (upload! [_ _ctx local-paths remote-path _opts]
    (doseq [path (flatten [local-paths])]
      (copy! (str path) remote-path)))

  (download! [_ _ctx remote-paths local-path _opts]
    (doseq [path (flatten [remote-paths])]
      (copy! (str path) local-path))))

(def netns (->Netns nil))

(defn sh!
  "Runs a command on this machine; throws unless it succeeds."
  [& words]
  (let [{:keys [exit out err] :as result} (apply sh words)]
    (when-not (zero? exit)
      (throw+ (assoc result :type ::command-failed) nil "%s: %s" (str/join " " words) err))
    out))

(defn address
  "Node number i has the address 10.77.0.(10 + i); this side of the bridge is 10.77.0.1."
  [i]
  (str "10.77.0." (+ 10 i)))

(def gateway "10.77.0.1")

(def ^:private bridge "quorate-jepsen")

(defn down!
  "Removes the bridge and the namespaces."
  [nodes]
  (doseq [node nodes]
    (sh "ip" "netns" "del" node))
  (sh "ip" "link" "del" bridge))

(defn up!
  "Makes a bridge and a namespace a node."
  [nodes]
  (down! nodes)
  (sh! "ip" "link" "add" bridge "type" "bridge")
  (sh! "ip" "addr" "add" (str gateway "/24") "dev" bridge)
  (sh! "ip" "link" "set" bridge "up")
  (doseq [[i node] (map-indexed vector nodes)
          :let [outer (str "qj" (inc i))]]
    (sh! "ip" "netns" "add" node)
    (sh! "ip" "link" "add" outer "type" "veth" "peer" "name" "eth0" "netns" node)
    (sh! "ip" "link" "set" outer "master" bridge "up")
    (sh! "ip" "-n" node "addr" "add" (str (address (inc i)) "/24") "dev" "eth0")
    (sh! "ip" "-n" node "link" "set" "eth0" "up")
    (sh! "ip" "-n" node "link" "set" "lo" "up")))
