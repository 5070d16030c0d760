(ns jepsen.quorate.client
  "A client of one node, over `quoratectl`. A timed-out operation is :info and never :fail."
  (:require [jepsen.client :as client]
            [jepsen.control :as c]
            [jepsen.quorate.ctl :as ctl]
            [jepsen.quorate.db :as quorate]
            [jepsen.quorate.fleet :as fleet]
            [jepsen.quorate.workload.observations :as observations]
            [jepsen.quorate.world :as world]
            [jepsen.util :as util]))

(defn- one-switch [of]
  {:epoch (:epoch of) :from (:from of) :to (:to of) :cause (keyword (:cause of)) :status (keyword (:status of))
   :authorised-ms (:authorised_log_ms of) :observed-ms (:observed_log_ms of) :term (:term of) :log-index (:index of)})

(defn- evidence [service {:keys [switch evidence]}]
  {:service service :epoch (:epoch switch) :cause (keyword (:cause switch)) :term (:term switch)
   :from (:from switch) :to (:to switch)
   :electorate (into {} (for [[node site] (:electorate evidence)] [(Long/parseLong (name node)) site]))
   :regions (vec (for [{:keys [region votes]} (:regions evidence)]
                   {:region region
                    :votes (vec (for [{:keys [node site opinion runs]} votes]
                                  {:node node :site site :opinion (keyword opinion)
                                   :runs (mapv #(select-keys % [:probe :term]) runs)}))}))})

(defn- standing! [test service]
  (let [{:keys [values epoch]} (world/standing @(:world test) service)]
    (swap! (:log @(:world test)) conj {:nanos (System/nanoTime) :process :witness :type :info :f :standing
                                       :value {:service service :values values :epoch epoch}})))

(defn- perform [test node {:keys [f value] :as op}]
  (let [{:keys [service expected to epoch]} value
        call (fn [& words] (apply ctl/call test [node] "--timeout" "3s" words))]
    (case f
      :read (ctl/complete op (call "verdict" "get" service)
                          (fn [json] (assoc value :epoch (get-in json [:verdict :epoch])
                                            :region (get-in json [:verdict :active_region]))))
      :switch (ctl/complete op (call "switch" "start" service "--to" to "--expected-epoch" (str expected)
                                     "--override" "cooldown" "--override" "candidate-up")
                            (fn [json] (assoc value :epoch (:epoch json))))
      :switches (ctl/complete op (call "switch" "list" service "--limit" "60")
                              (fn [json] (assoc value :switches (mapv one-switch (:switches json)))))
      :evidence (ctl/complete op (call "evidence" "get" service (str epoch)) #(evidence service %))
      :hash (ctl/complete op (call "member" "list")
                          (fn [json] {:node (:answered_by json) :applied (:applied_index json) :hash (:state_hash json)}))
      :members (ctl/complete op (ctl/call test (fleet/nodes test) "--timeout" "3s" "member" "list")
                             (fn [json] {:voters (mapv :id (filter #(= "voter" (:role %)) (:members json)))}))
      ;; One operation reads a node's whole log; the adapter makes an :add of each element.
      :acknowledged (let [log (get (c/on-nodes test [node] (fn [_ node] (c/exec :cat (quorate/log-file node)))) node)]
                      (assoc op :type :ok :value (vec (observations/acknowledged (fleet/number test node) log))))
      :reports (if-let [recorded (observations/recorded test node (fleet/number test node))]
                 (assoc op :type :ok :value recorded)
                 (assoc op :type :fail :error "the recording could not be exported"))
      :status (do (standing! test service)
                  (ctl/complete op (call "verdict" "get" service)
                                (fn [{:keys [verdict]}]
                                  (assoc value :phase (keyword (:phase verdict)) :region (:active_region verdict)
                                         :epoch (:epoch verdict) :trouble (:trouble verdict))))))))

(defrecord Client [node]
  client/Client
  (open! [this _test node] (assoc this :node node))
  (setup! [_ test]
    (reset! (:origin @(:world test)) util/*relative-time-origin*))
  (invoke! [_ test op]
    (perform test node op))
  (teardown! [_ _test])
  (close! [_ _test])

  client/Reusable
  (reusable? [_ _test] true))

(defn client [] (->Client nil))
